"""A bench on a terminal, and as comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from compiler.report import words
from compiler.report.terminal import grid, page

NO_DIFFERENCE = "no difference"
_STYLES = {"faster": "green", "slower": "yellow", NO_DIFFERENCE: "dim"}

_PLAIN = ("what", "load", "first", "steady_after", "peak", "disk", "verdict", "failure")

# One bench table as JSON: compiler.bench.rows.Table.to_json.
Table = Mapping[str, Any]


def show(table: Table) -> None:
    console = page()
    console.print(Text(f"{setting(table)}; {table['rounds']} rounds in turns", style="bold"))
    rows = _grid(table)
    if rows.row_count:
        console.print(rows)
    for row in table["rows"]:
        if row["failure"]:
            console.print(Text(f"{row['name']} was not timed: {row['failure']}", style="yellow"))


def _grid(table: Table) -> RichTable:
    timed = [row for row in table["rows"] if row["latency"]]
    clients = list(timed[0]["rates"]) if timed else []
    rates = [f"calls/s x{count}" if count != 1 else "calls/s" for count in clients]
    rows = grid("", "p50 ms", "p99 ms", f"of {table['against']}", *rates, "start s", "MiB", "file", "of budget")
    rows.padding = (0, 0, 0, 1)
    for column in rows.columns[1:]:
        column.no_wrap = True  # a long name is folded, a number never
    for row in timed:
        rows.add_row(*_cells(row, clients))
    return rows


def setting(table: Table) -> str:
    sizes = " ".join(f"{name}={size}" for name, size in table["sizes"].items())
    threads = f"{table['threads']} thread{'s' * (table['threads'] != 1)}"
    return f"{sizes}, {threads}" if sizes else threads


def _cells(row: Mapping[str, Any], clients: Sequence[int]) -> list[Text | str]:
    latency, error = row["latency"], row["error"]
    failed = error["status"] == "failed"
    used = words.percent(error["used"]) if error["used"] is not None else error["status"]
    held = row["verdict"] if row["verdict"] == NO_DIFFERENCE else ratio(row["ratio"])
    return [
        row["name"],
        _milliseconds(latency["p50"]),
        _milliseconds(latency["p99"]),
        Text(held, style=_STYLES.get(row["verdict"], "")),
        *(_thousands(row["rates"][count]) for count in clients),
        f"{row['load'] + row['first']:.2f}",
        _mebibytes(row["peak"]),
        _mebibytes(row["disk"]),
        Text(f"{used} DIFFERS" if failed else used, style="bold red" if failed else ""),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:#.3g}".rstrip(".")


def _thousands(rate: float) -> str:
    return f"{rate:.3g}" if rate < 1000 else f"{rate / 1000:.3g}k"


def _mebibytes(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.0f}" if size >= 10 * 2**20 else f"{size / 2**20:.1f}"


def ratio(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return "1"
    return f"{times(ratio['value'])} [{times(ratio['low'])}, {times(ratio['high'])}]"


def times(value: float) -> str:
    """A ratio; of what is very small, the first digits."""
    return f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def faster(ratio: Mapping[str, float], against: str) -> str:
    """2.4 times as fast as eager."""
    if ratio["low"] <= 1 <= ratio["high"]:
        return f"as fast as {against}"
    rate, word = (1 / ratio["value"], "fast") if ratio["value"] < 1 else (ratio["value"], "slow")
    return f"{rate:,.0f} times as {word} as {against}" if rate >= 100 else f"{rate:.3g} times as {word} as {against}"


def sentence(table: Table) -> str:
    """Who is the fastest, how much, and how equal."""
    best = fastest(table)
    if best is None:
        return "Nothing could be timed."
    text = f"At {setting(table)}, {best['name']} is the fastest: {_milliseconds(best['latency']['p50'])} ms"
    if best["ratio"] is not None:
        same = f", which is {NO_DIFFERENCE}" if best["verdict"] == NO_DIFFERENCE else ""
        text += f", {ratio(best['ratio'])} of the time of {table['against']}{same}"
    if best["error"]["used"] is not None:
        text += f"; it uses {words.percent(best['error']['used'])} of its error budget"
    return text + "."


def fastest(table: Table) -> Mapping[str, Any] | None:
    """Of those whose numbers do not differ."""
    sound = [row for row in table["rows"] if row["latency"] and row["error"]["status"] != "failed"]
    return min(sound, key=lambda row: float(row["latency"]["p50"]), default=None)


def write_csv(tables: Iterable[Table], file: Path) -> None:
    """A line for each contender at each setting."""
    lines = [line for table in tables for line in _lines(table)]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(lines)


def _lines(table: Table) -> Iterable[dict[str, Any]]:
    for row in table["rows"]:
        line = {"threads": table["threads"], **table["sizes"], "name": row["name"], "against": table["against"]}
        for key in ("latency", "ratio", "error"):
            line |= {f"{key}_{name}": value for name, value in (row[key] or {}).items()}
        line |= {f"rate_{clients}": rate for clients, rate in row["rates"].items()}
        yield line | {key: row[key] for key in _PLAIN}
