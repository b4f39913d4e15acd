"""What each pass did, for `--explain`: changed, declined and why, nodes and bytes, time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from compiler.report import words
from compiler.report.terminal import page

_PLACES = 3  # how many places of one reason are named
_NO_BREAK = "\N{NO-BREAK SPACE}"  # between a number and its operator, so that a line does not end there

Record = Mapping[str, Any]


def show(records: Sequence[Record], by_target: Sequence[str] = ()) -> None:
    """A row for each pass that changed something, the reasons of those that declined, and a line for the rest. What the
    target itself declined while it was building comes after the passes."""
    console = page()
    console.print(_changes(records))
    for name, reasons in _declined([*records, {"name": "the target", "declined": by_target}]).items():
        console.print(Text(f"{name} declined:"))
        for reason, places in reasons.items():
            rest = f", and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
            console.print(Text(f"  {len(places)}x {reason}\n      {'; '.join(places[:_PLACES])}{rest}"))
    changed = {record["name"] for record in records if record["modified"]}
    idle = dict.fromkeys(record["name"] for record in records if record["name"] not in changed)
    console.print(Text(f"found nothing to do: {', '.join(idle)}"))


def _changes(records: Sequence[Record]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("pass", "nodes", "weights", "ms", "operators"):
        table.add_column(column, justify="right" if column == "ms" else "left", overflow="fold")
    for record in records:
        if record["modified"]:
            nodes = f"{record['nodes_before']} → {record['nodes_after']}"
            size = words.change(record["bytes_before"], record["bytes_after"])
            kinds = operators(record["operators"]).replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")
            table.add_row(record["name"], nodes, size, f"{record['seconds'] * 1000:.0f}", kinds)
    total = sum(record["seconds"] for record in records)
    first, last = records[0], records[-1]
    size = words.change(first["bytes_before"], last["bytes_after"])
    table.add_section()
    table.add_row("all", f"{first['nodes_before']} → {last['nodes_after']}", size, f"{total * 1000:.0f}", "")
    return table


def operators(changes: Mapping[str, int]) -> str:
    """-15 BatchNormalization, +1 Gemm: the largest change first."""
    ordered = sorted(changes.items(), key=lambda item: (-abs(item[1]), item[0]))
    return ", ".join(f"{count:+d} {name}" for name, count in ordered)


def _declined(records: Iterable[Record]) -> dict[str, dict[str, list[str]]]:
    """Pass -> reason -> places, each place once."""
    found: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for line in record["declined"]:
            place, reason = _apart(line)
            places = found.setdefault(record["name"], {}).setdefault(reason, [])
            if place not in places:
                places.append(place)
    return found


def _apart(line: str) -> tuple[str, str]:
    """A place is a node in words, "Add node_3, from encoder (model.py:118)"; the reason comes after it."""
    match = re.match(r"(?P<place>.*?(?:\([^()]*:\d+\))?): (?P<reason>.*)", line)
    return (match["place"], match["reason"]) if match else (line, "")
