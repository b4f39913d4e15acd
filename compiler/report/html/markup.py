"""HTML that cannot be broken from inside: whatever is not markup already is escaped where it is put in."""

from __future__ import annotations

import html
import unicodedata

from compiler.report.words import printable


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


_VOID = frozenset({"meta", "br"})


def text(value: object) -> Markup:
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(plain(str(value))))


def plain(words: str) -> str:
    """Without what cannot be written, and what turns the direction of text: a name may not rewrite what is around."""
    return "".join("�" if unicodedata.bidirectional(letter) in _TURNING else letter for letter in printable(words))


_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """`class_` is written class, `http_equiv` http-equiv. An attribute that is None is left out."""
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    opened = f"<{name}{''.join(words)}>"
    return Markup(opened if name in _VOID else f"{opened}{join(*children)}</{name}>")


def join(*parts: object) -> Markup:
    return Markup("".join(map(text, parts)))
