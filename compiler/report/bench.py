"""A bench on a terminal, and as comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from compiler.report import contenders, numbers
from compiler.report.contenders import Column
from compiler.report.numbers import Row
from compiler.report.terminal import page

NO_DIFFERENCE = "no difference"
_STYLES = {"faster": "green", "slower": "yellow", NO_DIFFERENCE: "dim"}

_PLAIN = ("what", "place", "load", "first", "steady_after", "peak", "disk", "verdict", "failure", "note")

# One bench table as JSON: compiler.bench.rows.Table.to_json.
Table = Mapping[str, Any]


def show(table: Table) -> None:
    console = page()
    told = f"{setting(table)}; {table['rounds']} rounds in turns"
    if not _is_short(table["against"]):
        told += f"; ratio: of the time of {table['against']}"
    console.print(Text(told, style="bold"))
    timed = [row for row in table["rows"] if row["latency"]]
    if timed:
        for grid in contenders.grids([row["name"] for row in timed], [*_columns(table, timed)], console.width):
            console.print(grid)
    for row in timed:
        if row["error"]["status"] == "failed":
            console.print(Text(f"{row['name']}: {numbers.full(row)}", style="bold red"))
        elif not numbers.by_budget(row):
            console.print(Text(f"{row['name']}: {numbers.full(row)}"))
    for row in table["rows"]:
        if row["note"]:
            console.print(Text(f"{row['name']}: {row['note']}", style="yellow"))
        if row["failure"]:
            console.print(Text(f"{row['name']} was not timed: {row['failure']}", style="yellow"))


def _columns(table: Table, timed: Sequence[Row]) -> Iterator[Column]:
    """What matters most comes first: speed, and how equal the numbers are."""
    yield Column("p50 ms", [Text(_milliseconds(row["latency"]["p50"])) for row in timed])
    yield Column("p99 ms", [Text(_milliseconds(row["latency"]["p99"])) for row in timed])
    yield Column(f"of {table['against']}" if _is_short(table["against"]) else "ratio", [_held(row) for row in timed])
    yield Column("of budget" if all(map(numbers.by_budget, timed)) else "numbers", [_equal(row) for row in timed])
    for clients in timed[0]["rates"]:
        head = f"calls/s x{clients}" if clients != 1 else "calls/s"
        yield Column(head, [Text(_thousands(row["rates"][clients])) for row in timed])
    yield Column("start s", [Text(f"{row['load'] + row['first']:.2f}") for row in timed])
    yield Column("MiB", [Text(_mebibytes(row["peak"])) for row in timed])
    yield Column("file", [Text(_mebibytes(row["disk"])) for row in timed])


def _is_short(name: str) -> bool:
    """Whether there is room for it above a ratio with its interval."""
    return len(name) <= len("0.31 [0.31, 0.31]")


def _held(row: Row) -> Text:
    told = row["verdict"] if row["verdict"] == NO_DIFFERENCE else ratio(row["ratio"])
    return Text(told, style=_STYLES.get(row["verdict"], ""))


def _equal(row: Row) -> Text:
    return Text(numbers.brief(row), style="bold red" if row["error"]["status"] == "failed" else "")


def setting(table: Table) -> str:
    sizes = " ".join(f"{name}={size}" for name, size in table["sizes"].items())
    threads = f"{table['threads']} thread{'s' * (table['threads'] != 1)}"
    return f"{sizes}, {threads}" if sizes else threads


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
    text += f"; {numbers.full(best)}"
    if best["place"]:
        text += f"; it is in {best['place']}"
    equal = fastest(table, numbers.by_budget)
    if equal is not None and not numbers.by_budget(best):
        text += f". Of those that compute what the model computes it is {equal['name']}: "
        text += f"{_milliseconds(equal['latency']['p50'])} ms"
    return text + "."


def fastest(table: Table, allowed: Callable[[Row], bool] = lambda row: True) -> Row | None:
    """Of those whose numbers do not differ."""
    sound = [row for row in table["rows"] if row["latency"] and row["error"]["status"] != "failed" and allowed(row)]
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
        error = {
            **row["error"],
            "promises": "; ".join(f"{one['output']}:{one['text']}" for one in row["error"]["promises"]),
        }
        for key, told in (("latency", row["latency"]), ("ratio", row["ratio"]), ("error", error)):
            line |= {f"{key}_{name}": value for name, value in (told or {}).items()}
        line |= {f"rate_{clients}": rate for clients, rate in row["rates"].items()}
        yield line | {key: row[key] for key in _PLAIN}
