"""The pages of the documentation, taken apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.S | re.M)
_INDENTED = re.compile(r"(?:^ {4}\S.*\n)(?:^ {4,}\S.*\n)*", re.M)
_COMMAND = re.compile(r"^ *(?:\$ )?(?P<line>compile (?:.*\\\n)*.*)$", re.M)
_CODE = re.compile(r"`[^`]+`")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Everything but code."""
    return _CODE.sub("", _INDENTED.sub("", _FENCE.sub("", text_of(page))))


def blocks(page: Path, language: str = "") -> list[str]:
    """Fenced blocks of one language; indented ones have none."""
    text = text_of(page)
    found = [match["text"] for match in _FENCE.finditer(text) if match["language"] == language]
    return found if language else [*found, *_INDENTED.findall(_FENCE.sub("", text))]


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `compile` of every command in a block of code."""
    for block in blocks(page):
        for match in _COMMAND.finditer(block):
            yield shlex.split(match["line"].replace("\\\n", " "), comments=True)[1:]


def section(page: Path, heading: str) -> str:
    """What stands between a heading and the next of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    text = text_of(page)
    assert f"\n{heading}\n" in text, f"{name_of(page)} has no heading '{heading}'"
    rest = text.partition(f"\n{heading}\n")[2]
    end = re.search(rf"^#{{1,{level}}} ", rest, re.M)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The rows of every table, without heads."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        if set(line) <= set("|-: "):
            found.pop()  # the head stands above its rule
        else:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def quoted(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(page: Path) -> set[str]:
    """The names under which GitHub finds a page's headings."""
    heads = re.findall(r"^#+ (.+)$", _FENCE.sub("", text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
