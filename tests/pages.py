"""The documentation as tests read it: pages, their blocks of code, their headings and their links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("examples/*/*.md")])

_BLOCK = re.compile(
    r"(?:^`(?P<file>[^`\s]+)`[^\n]*:\n\n)?^(?P<fence>`{3,})(?P<language>[^`\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
_BARE = re.compile(r"https?://[^\s)>`\"|]+")
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Block:
    """A block of code; `file` is the name that stands in the line above it, empty where none does."""

    language: str
    text: str
    file: str = ""


def blocks(page: Path) -> list[Block]:
    return [Block(b["language"], b["text"], b["file"] or "") for b in _BLOCK.finditer(page.read_text())]


def files(page: Path) -> dict[str, str]:
    """The files that a page shows, by name."""
    return {block.file: block.text for block in blocks(page) if block.file}


def prose(page: Path) -> str:
    """Without blocks of code."""
    return _BLOCK.sub("", page.read_text())


def links(page: Path) -> set[str]:
    """All that is linked to, relative or not."""
    text = _CODE.sub("", prose(page))
    return set(_LINK.findall(text)) | {found.rstrip(".,;:") for found in _BARE.findall(text)}


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub and docs/conf.py name them; of two that read alike the second one ends in -1."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        name = _slug(heading)
        number = sum(anchor == name or re.fullmatch(rf"{re.escape(name)}-\d+", anchor) is not None for anchor in found)
        found.add(f"{name}-{number}" if number else name)
    return found


def _slug(heading: str) -> str:
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
