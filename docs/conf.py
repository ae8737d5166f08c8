"""How `make docs` reads this folder: Sphinx, with MyST for Markdown. Each page also reads as it is on a code host."""

import re

from pygments.lexers.data import JsonLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from hotpipe import __version__

project = "hotpipe"
copyright = "hotpipe contributors"
release = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 4  # named as code hosts name them, so that a link to #a-heading is checked here and works there

html_theme = "furo"
html_title = f"hotpipe {release}"


def setup(app: Sphinx) -> None:
    """The index needs a table of contents in Sphinx's words, which a code host would show as they are."""
    app.connect("source-read", _add_contents)
    app.add_lexer("jsonl", JsonLexer)
    app.add_lexer("mermaid", TextLexer)


def _add_contents(_: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":
        source[0] += "".join(map(_contents, re.split(r"^## ", source[0], flags=re.MULTILINE)))


def _contents(section: str) -> str:
    """A toctree of the pages that a section links to."""
    pages = "\n".join(re.findall(r"\]\(([^)#]+)\.md\)", section))
    caption = section.splitlines()[0].removeprefix("# ")
    return f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n" if pages else ""
