"""Where the time of a call goes, on a terminal and as comma-separated values."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from compiler.report import words
from compiler.report.bench import setting
from compiler.report.terminal import grid, page

_MOST_ROWS = 16
_BESIDE = 3  # contenders that fit into the width of a page
_NAME = 34  # letters
_MICROSECONDS, _SHARE, _PEAK = 7, 5, 5

# The profiles of one setting as JSON: compiler.bench.profile.Profiles.to_json.
Profiles = Mapping[str, Any]

# What operators, or modules, take together, by name.
Shares = Mapping[str, Mapping[str, Any]]


def show(told: Profiles) -> None:
    console = page()
    console.print(Text(f"{setting(told)}: where the time goes", style="bold"))
    console.print(Text(_peaks(told["peaks"])))
    profiles = [profile for profile in told["profiles"] if not profile["failure"]]
    for start in range(0, len(profiles), _BESIDE):
        some = profiles[start : start + _BESIDE]
        _print(console, "operator", some, [operators(profile) for profile in some])
        _print(console, "module", some, [modules(profile) for profile in some])
    for profile in told["profiles"]:
        if profile["failure"]:
            console.print(Text(f"{profile['name']} was not profiled: {profile['failure']}", style="yellow"))


def _peaks(peaks: Mapping[str, Any]) -> str:
    products = ", ".join(
        f"{dtype} {peak['rate'] / 1e9:.0f} GFLOP/s ({peak['by']})" for dtype, peak in peaks["products"].items()
    )
    sizes = list(peaks["copies"])
    fastest = max(peaks["copies"], key=lambda size: float(peaks["copies"][size]))
    return (
        f"peaks: {products}; copies {peaks['copies'][sizes[-1]] / 1e9:.0f} GB/s, "
        f"{peaks['copies'][fastest] / 1e9:.0f} GB/s of {words.size(int(fastest))}; peak: the share reached"
    )


def operators(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {share["name"]: share for share in profile["by_operator"]}


def modules(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Those that differ by a number only are one: encoder.layer.*.output."""
    found: dict[str, dict[str, Any]] = {}
    for share in profile["by_module"]:
        name = re.sub(r"(?<![^.])\d+(?![^.])", "*", share["name"]) or "(the model itself)"
        joined = found.setdefault(name, {"seconds": 0.0, "steps": 0, "least": None})
        joined["seconds"] += share["seconds"]
        joined["steps"] += share["steps"]
        if share["least"] is not None:
            joined["least"] = (joined["least"] or 0.0) + share["least"]
    for joined in found.values():
        joined["roofline"] = joined["least"] / joined["seconds"] if joined["least"] and joined["seconds"] else None
    return dict(found)


def _print(console: Console, what: str, profiles: Sequence[Mapping[str, Any]], shares: Sequence[Shares]) -> None:
    table = grid(what)
    table.padding = (0, 0, 0, 1)
    table.columns[0].no_wrap = True
    for profile in profiles:
        table.add_column(Text(profile["name"]), overflow="fold", width=_MICROSECONDS + _SHARE + _PEAK + 2)
    totals = [float(profile["total"]["seconds"]) for profile in profiles]
    names = dict.fromkeys(name for each in shares for name in each)
    ranked = sorted(names, key=lambda name: -_most(name, shares, totals))
    shown, rest = ranked[:_MOST_ROWS], ranked[_MOST_ROWS:]
    table.add_row("", *[f"{'µs':>{_MICROSECONDS}} {'share':>{_SHARE}} {'peak':>{_PEAK}}"] * len(profiles))
    for name in shown:
        _row(table, name, [each.get(name) for each in shares], totals)
    if rest:
        _row(table, f"{len(rest)} others", [_together(each, rest) for each in shares], totals)
    _row(table, "together", [profile["total"] for profile in profiles], totals)
    console.print(table)


def _most(name: str, shares: Sequence[Shares], totals: Sequence[float]) -> float:
    return max(_part(each, name, total) for each, total in zip(shares, totals, strict=True))


def _part(shares: Shares, name: str, total: float) -> float:
    return float(shares[name]["seconds"]) / total if name in shares and total else 0.0


def _together(shares: Shares, names: Iterable[str]) -> dict[str, Any]:
    return {"seconds": sum(float(shares[name]["seconds"]) for name in names if name in shares), "roofline": None}


def _row(table: RichTable, name: str, cells: Sequence[Mapping[str, Any] | None], totals: Sequence[float]) -> None:
    told = [_cell(cell, total) if cell is not None else "" for cell, total in zip(cells, totals, strict=True)]
    table.add_row(Text(name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"), *told)


def _cell(share: Mapping[str, Any], total: float) -> str:
    seconds, reached = float(share["seconds"]), share["roofline"]
    part = f"{seconds / total:.0%}" if total else ""
    peak = f"{reached:.0%}" if reached else ""
    return f"{_microseconds(seconds):>{_MICROSECONDS}} {part:>{_SHARE}} {peak:>{_PEAK}}"


def _microseconds(seconds: float) -> str:
    count = 1e6 * seconds
    return f"{count:.1f}" if count < 100 else f"{count:.0f}"


def write_csv(all_profiles: Iterable[Profiles], file: Path) -> None:
    """A line for each step of each contender at each setting."""
    lines = [
        {"threads": told["threads"], **told["sizes"], "contender": profile["name"], **_line(step)}
        for told in all_profiles
        for profile in told["profiles"]
        for step in profile["steps"]
    ]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(lines)


def _line(step: Mapping[str, Any]) -> dict[str, Any]:
    return {**step, "nodes": " ".join(step["nodes"])}
