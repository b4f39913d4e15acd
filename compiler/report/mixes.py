"""What `--precision auto` tried, what came of each, and which layers stayed high."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from compiler.report import auto, bench, precision
from compiler.report.terminal import grid, page

_SHOWN = 6  # layers


def promises(tried: Any) -> list[dict[str, Any]]:
    """Of compiler.precision.search.Tried."""
    return [{"text": one.text, "passed": one.passed, "worst": _number(one.worst)} for one in tried.promises]


def _number(value: float) -> float | str:
    """JSON has no infinity and no NaN; they are written as words."""
    return value if math.isfinite(value) else str(value)


def to_json(name: str, tried: Any, row: Any, why: str, *, chosen: bool) -> dict[str, Any]:
    """`row` is what bench measured of it, if it came that far."""
    return {
        "name": name,
        "back": tried.count,
        "layers": tried.layers,
        "holds": tried.holds,
        "excess": _number(tried.excess),
        "promises": promises(tried),
        "error": _number(tried.error),
        "seconds": tried.seconds,
        "timed": row is not None and row.latency is not None,
        "chosen": chosen,
        "why": why,
    }


def map_of(tried: Any) -> list[dict[str, Any]]:
    """The layers that were put back, those that cost most for what they save first."""
    return [
        {"layers": list(unit.layers), "modules": list(unit.modules), "precision": tried.base.high,
         "error": _number(math.sqrt(unit.error)), "measured": unit.measured}
        for unit in tried.back
    ]  # fmt: skip


def kept(found: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one['text']}: {float(one['worst']):.6g} at worst" for one in found)


def broken(manifest: Mapping[str, Any]) -> str:
    return precision.sentence(manifest).removeprefix("REJECTED: ").removesuffix(".")


def show(folder: Path, told: Mapping[str, Any], *, quiet: bool) -> None:
    console = page()
    if not quiet:
        console.print(Text(bench.setting(told["table"]), style="bold"))
        console.print(_table(told))
        for line in high(told["high"]):
            console.print(Text(line))
    for name, why in told["refused"].items():
        console.print(Text(f"{name} was not chosen: {why}", style="yellow"))
    for name, one in told["failed"].items():
        reason = one if isinstance(one, str) else one["message"]
        console.print(Text(f"{name} is no candidate: {reason}", style="yellow"))
    for warning in told["warnings"]:
        console.print(Text(warning, style="bold red"))
    console.print(Text(f"{sentence(told)} It is in {folder}.", style="green"))


def sentence(told: Mapping[str, Any]) -> str:
    return f"{auto.sentence(told).removesuffix('.')}; {len(told['mixes'])} mixes tried in {told['seconds']:.0f} s."


def high(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why what is high stayed so, in lines."""
    if not layers:
        return []
    lines = [f"stayed in {layers[0]['precision']}, by what each alone would change in the outputs:"]
    for one in layers[:_SHOWN]:
        told = "" if one["measured"] else ", estimated"
        lines.append(f"  {place(one)}: {float(one['error']):.2%}{told}")
    if len(layers) > _SHOWN:
        lines.append(f"  and {len(layers) - _SHOWN} more, in choice.json")
    return lines


def place(one: Mapping[str, Any]) -> str:
    """Where the user knows it from, and the name that `--keep` takes."""
    names = ", ".join(one["layers"])
    return f"{', '.join(one['modules'])} ({names})" if one["modules"] else names


HEAD = ("mix", "contract", "error", "ms", "of float32", "MiB", "")


def rows(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """float32 first, then each mix: what it keeps, how far off it is, and what it costs where it was timed."""
    timed = {row["name"]: row for row in told["table"]["rows"]}
    mixes = {one["name"]: one for one in told["mixes"]}
    plain = [(name, "", "", *_costs(row), "chosen" if name == told["chosen"] else "")
             for name, row in timed.items() if name not in mixes]  # fmt: skip
    return [*plain, *(_row(one, timed) for one in told["mixes"])]


def _row(one: Mapping[str, Any], timed: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    worst = min(one["promises"], key=lambda promise: promise["passed"], default=None)
    contract = "" if worst is None else f"{'' if one['holds'] else 'NOT '}{float(worst['worst']):.5g}"
    fate = "chosen" if one["chosen"] else "not kept" if not one["holds"] else "refused" if one["why"] else ""
    costs = _costs(timed.get(one["name"]))
    return (one["name"], contract, f"{float(one['error']):.2%}", *costs, fate)


def _costs(row: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if row is None or not row["latency"]:
        return "", "", ""
    return f"{1000 * row['latency']['p50']:#.3g}".rstrip("."), bench.ratio(row["ratio"]), f"{row['disk'] / 2**20:.1f}"


def _table(told: Mapping[str, Any]) -> Any:
    table = grid(*HEAD)
    table.padding = (0, 1, 0, 0)
    for column in table.columns[1:]:
        column.no_wrap = True
    for row in rows(told):
        table.add_row(*(Text(cell) for cell in row))
    return table
