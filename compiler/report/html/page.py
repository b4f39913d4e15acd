"""One page that needs nothing else: no script, no network, its style and its charts inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compiler.report.html import svg
from compiler.report.html.markup import Markup, join, tag, text
from compiler.report.html.style import CSS
from compiler.report.html.svg import Chart

State = Literal["good", "bad", "warn"]

# Even if a name got through as markup, nothing in this page would run or be fetched.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SIGNS: Mapping[State, str] = {"good": "✓", "bad": "✗", "warn": "!"}


@dataclass(frozen=True)
class Head:
    """What stands above everything else."""

    title: str
    kind: str
    state: State
    word: str
    sentence: str
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    body: Sequence[object]


def page(head: Head, sections: Iterable[Section], data: Mapping[str, Any]) -> str:
    """`data` is everything that the page rests on; it stands at the end as JSON."""
    told = [*sections, _data(data)]
    body = join(
        tag("header", *_header(head), tag("nav", *(tag("a", one.title, href=f"#{one.name}") for one in told))),
        tag("main", *(tag("section", tag("h2", one.title), *one.body, id=one.name) for one in told)),
    )
    top = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", head.title),
        tag("style", Markup(CSS)),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{top}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _header(head: Head) -> Iterable[Markup]:
    yield tag("h1", head.title)
    yield tag("p", head.kind, class_="kind")
    yield tag(
        "div",
        tag("strong", f"{_SIGNS[head.state]} {head.word}"),
        tag("p", head.sentence),
        class_=f"verdict is-{head.state}",
    )
    yield tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in head.facts))


def _data(data: Mapping[str, Any]) -> Section:
    told = json.dumps(data, indent=1, ensure_ascii=False, default=str)
    shown = tag("details", tag("summary", "Show it"), tag("pre", told))
    return Section("data", "All of it as JSON", [tag("p", "The numbers above are rounded; here they are not."), shown])


# -- what sections are made of ----------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> Markup:
    """`right` are the heads of the columns that hold numbers, with | between them."""
    numbers = {head.index(name) for name in right.split("|") if name}
    kinds = ["r" if place in numbers else None for place in range(len(head))]
    lines = [tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows]
    heads = (tag("th", name, class_=kind, scope="col") for name, kind in zip(head, kinds, strict=True))
    return tag(
        "div", tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines)), class_="scroll", tabindex="0"
    )


def pairs(rows: Iterable[tuple[str, object]]) -> Markup:
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows]
    return tag("div", tag("table", tag("tbody", *lines)), class_="scroll", tabindex="0")


def marked(state: State, word: str) -> Markup:
    """A word that is told apart by its sign as well as by its colour."""
    return tag("b", f"{_SIGNS[state]} {word}", class_=f"is-{state}")


def note(words: str) -> Markup:
    return tag("p", words, class_="note")


def figure(chart: Chart, caption: str) -> Markup:
    drawn = svg.drawn(chart)
    if drawn is None:
        return note(f"{chart.title}: not drawn, because matplotlib is not installed; the table has the numbers.")
    return tag("figure", drawn, tag("figcaption", text(caption)))
