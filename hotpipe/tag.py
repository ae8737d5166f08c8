"""The badge's script tag, and the responses that it goes into. Pure, and of the standard library alone: it is loaded
into the user's server.

The tag goes to the very end of a page. HTML says that a script after `</html>` belongs to the body, as one before
`</body>` does; so nothing has to be searched for or held back, and no `</body>` in a script's text is taken for the
page's end.

A page gets it if a browser asked for it as a page: not what a script fetches, no download, no part of a file, nothing
compressed, and nothing in an encoding in which ASCII is not ASCII. Its validators (ETag, Last-Modified) go, for they
are those of another text. Its Content-Security-Policy is given leave for the badge's origin, and the tag the nonce of
its scripts.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Header = tuple[str, str]
_WEB = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
_GONE = {"etag", "last-modified", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"}
_WIDE = ("utf-16", "utf16", "utf-32", "utf32", "ucs-2", "iso-2022", "utf-7", "hz-gb")
_SHOWN = {"document", "iframe", "frame", "fencedframe"}  # Sec-Fetch-Dest
_NO_PAGE = {204, 205, 206, 304}
_OF_SCRIPTS = {"script-src", "script-src-elem", "default-src"}
_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'")


class Request(NamedTuple):
    """As a middleware is asked; header names in lower case."""

    method: str
    headers: Mapping[str, str]

    def is_for_page(self) -> bool:
        headers = self.headers
        fetched = headers.get("sec-fetch-dest", "document") not in _SHOWN or "x-requested-with" in headers
        return self.method in {"GET", "POST", "HEAD"} and not fetched and not headers.keys() & {"hx-request", "range"}


class Response(NamedTuple):
    """The headers to send, and what follows the page's last byte."""

    headers: list[Header]
    tag: bytes


class Tag(NamedTuple):
    """What this server is to say of itself; `web` is hotpipe's address."""

    web: str
    server: str
    generation: str

    def response(self, request: Request, status: int, headers: Iterable[Header]) -> Response | None:
        """None: it is left as it is."""
        sent = list(headers)
        if not request.is_for_page() or not _is_page(status, sent):
            return None
        nonces = (found for name, value in sent if _is_policy(name) for found in _nonces(value))
        tag = self._html(next(nonces, ""))
        kept = [self._header(header, len(tag)) for header in sent if header[0].lower() not in _GONE]
        return Response(kept, b"" if request.method == "HEAD" else tag)

    def _html(self, nonce: str) -> bytes:
        named = {"src": f"{self.web}/hotpipe.js", "data-server": self.server, "data-generation": self.generation}
        named |= {"nonce": nonce}
        text = " ".join(f'{name}="{html.escape(value)}"' for name, value in named.items() if value)
        return f"<script async {text}></script>".encode("ascii", "xmlcharrefreplace")

    def _header(self, header: Header, longer: int) -> Header:
        name, value = header
        if name.lower() == "content-length" and value.strip().isdecimal():
            return name, str(int(value) + longer)
        return (name, allowing(value, self.web)) if _is_policy(name) else header


def tag(environ: Mapping[str, str]) -> Tag | None:
    """None: hotpipe's page does not run, and in production it never does."""
    web = environ.get("HOTPIPE_WEB", "").rstrip("/")
    if not _WEB.fullmatch(web):
        return None
    return Tag(web, environ.get("HOTPIPE_SERVER", ""), environ.get("HOTPIPE_GENERATION", ""))


def _nonces(policy: str) -> Iterator[str]:
    """Those of scripts: under 'strict-dynamic' an origin is no leave."""
    for directive in re.split("[;,]", policy):
        if directive.split()[:1] and directive.split()[0].lower() in _OF_SCRIPTS:
            yield from _NONCE.findall(directive)


def allowing(policy: str, origin: str) -> str:
    """A Content-Security-Policy that lets a script of that origin load, and ask that origin."""
    return ",".join(_allowing(one, origin) for one in policy.split(","))


def _allowing(policy: str, origin: str) -> str:
    directives = [words for words in (part.split() for part in policy.split(";")) if words]
    named = {words[0].lower(): words for words in reversed(directives)}  # the first one counts
    for name in ("script-src-elem" if "script-src-elem" in named else "script-src", "connect-src"):
        words = named.get(name) or _inherited(name, named)
        if words is None:
            continue
        if name not in named:
            directives.append(words)
        words[:] = [word for word in words if word.lower() != "'none'"] + [origin]
    return "; ".join(" ".join(words) for words in directives)


def _inherited(name: str, named: Mapping[str, list[str]]) -> list[str] | None:
    """What is not said of scripts and connections, default-src says."""
    default = named.get("default-src")
    return None if default is None else [name, *default[1:]]


def _is_policy(name: str) -> bool:
    return name.lower() == "content-security-policy"


def _is_page(status: int, headers: Iterable[Header]) -> bool:
    sent = {name.lower(): value.lower() for name, value in headers}
    kind, _, parameters = sent.get("content-type", "").partition(";")
    return (
        status >= 200
        and status not in _NO_PAGE
        and kind.strip() == "text/html"
        and not any(wide in parameters for wide in _WIDE)
        and sent.get("content-encoding", "identity").strip() in {"", "identity"}
        and not sent.get("content-disposition", "").startswith("attachment")
    )
