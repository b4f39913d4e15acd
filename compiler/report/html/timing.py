"""What was timed, as sections of a page: for a bench, and for the choice that `--target auto` made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compiler.report import bench, numbers, words
from compiler.report.html import plots, speed
from compiler.report.html.markup import Markup, tag
from compiler.report.html.page import Section, figure, marked, note, table
from compiler.report.html.plots import Bar
from compiler.report.html.speed import Calls, Point

Row = Mapping[str, Any]
# Every contender at one setting, as JSON: compiler.bench.profile.Profiles.to_json.
Profiles = Mapping[str, Any]
_PERCENT = (0, 5, 25, 50, 75, 90, 95, 99, 100)


def sections(tables: Sequence[bench.Table]) -> Iterator[Section]:
    """Of one or several settings."""
    yield Section("speed", "Speed against error", [part for one in _numbered(tables) for part in _speed(*one)])
    yield Section("latency", "How long the calls took", [part for one in _numbered(tables) for part in _latency(*one)])
    yield Section("cost", "Throughput, start, memory and size", [part for one in tables for part in _cost(one)])


def _numbered(tables: Sequence[bench.Table]) -> Iterator[tuple[int, bench.Table]]:
    return enumerate(tables, 1)


def _heading(one: bench.Table) -> Markup:
    return tag("h3", f"{bench.setting(one)}; {one['rounds']} rounds in turns")


def timed(one: bench.Table) -> list[Row]:
    """The fastest first."""
    return sorted((row for row in one["rows"] if row["latency"]), key=lambda row: float(row["latency"]["p50"]))


def points(one: bench.Table) -> list[Point]:
    """Those whose error is known."""
    return [
        Point(row["name"], row["latency"]["p50"], float(row["error"]["used"]), row["error"]["status"] != "failed")
        for row in timed(one)
        if row["error"]["used"] is not None
    ]


def _speed(number: int, one: bench.Table) -> Iterator[Markup]:
    yield _heading(one)
    found = points(one)
    best = {point.name for point in speed.front(found)}
    if found:
        yield figure(
            speed.speed_and_error(f"speed{number}", found),
            "To the left is faster, further down is more exact. Full points on the line are the Pareto front: nothing "
            "else is both faster and more exact. A cross is out of its budget.",
        )
    against = one["against"]
    head = ("what", "median ms", f"of the time of {against}", "95 % interval", "", "of its budget", "numbers", "front")
    rows = [
        (
            row["name"],
            _ms(row["latency"]["p50"]),
            f"{row['ratio']['value']:.3g}" if row["ratio"] else "1",
            f"{row['ratio']['low']:.3g} to {row['ratio']['high']:.3g}" if row["ratio"] else "",
            row["verdict"],
            _share(row),
            _numbers(row),
            "on it" if row["name"] in best else "",
        )
        for row in timed(one)
    ]
    yield table(head, rows, right=f"median ms|of the time of {against}|of its budget")
    for row in timed(one):
        if not numbers.by_budget(row):
            yield note(f"{row['name']}: {numbers.full(row)}.")
    for row in one["rows"]:
        if row["note"]:
            yield note(f"{row['name']}: {row['note']}.")
        if row["failure"]:
            yield note(f"{row['name']} was not timed: {row['failure']}")


def _share(row: Row) -> str:
    """Of the budget that it is held to: in lower precision that of the graph which was asked for."""
    error = row["error"]
    if error["fidelity"] is not None:
        return f"{words.percent(error['fidelity'])} of its own"
    return words.percent(error["used"]) if error["used"] is not None else "not known"


def _numbers(row: Row) -> Markup:
    status = row["error"]["status"]
    if status == "failed":
        return marked("bad", "differ")
    if status != "passed":
        return marked("warn", words.status(status))
    if row["error"]["promises"]:
        return marked("good" if within(row) else "warn", numbers.brief(row))
    return marked("good", "equal")


def within(row: Row) -> bool:
    """Its budget; a contract may allow more."""
    return row["error"]["used"] is None or float(row["error"]["used"]) <= 1


def _latency(number: int, one: bench.Table) -> Iterator[Markup]:
    yield _heading(one)
    spread = [Calls(row["name"], row["spread"]) for row in timed(one) if row.get("spread")]
    if spread:
        yield figure(
            speed.latencies(f"latency{number}", spread),
            "How often calls took how long; the higher the hill, the more of them.",
        )
    head = (
        "what",
        "calls",
        "fastest",
        *(f"{percent} %" for percent in _PERCENT[1:-1]),
        "slowest",
        "mean",
        "95 % interval",
    )
    rows = [
        (
            row["name"],
            row["latency"]["count"],
            *_percentiles(row),
            _ms(row["latency"]["mean"]),
            f"{_ms(row['latency']['low'])} to {_ms(row['latency']['high'])}",
        )
        for row in timed(one)
    ]
    yield table(head, rows, right="|".join(head[1:]))
    yield note("Milliseconds: so many of a hundred calls took no longer than this.")


def _percentiles(row: Row) -> Iterator[str]:
    spread = row.get("spread")
    for percent in _PERCENT:
        value = spread[percent] if spread else row["latency"].get(f"p{percent}")
        yield _ms(value) if value is not None else ""


def _cost(one: bench.Table) -> Iterator[Markup]:
    yield _heading(one)
    rows = timed(one)
    clients = list(rows[0]["rates"]) if rows else []
    rates = [f"calls/s, {count} client{'s' * (str(count) != '1')}" for count in clients]
    head = ("what", "it is", *rates, "load s", "first call ms", "steady after", "most memory", "on disk")
    yield table(
        head,
        [
            (
                row["name"],
                row["what"],
                *(_rate(row["rates"][count]) for count in clients),
                f"{row['load']:.2f}",
                _ms(row["first"]),
                f"{row['steady_after']} calls",
                words.size(row["peak"]) if row["peak"] is not None else "",
                words.size(row["disk"]) if row["disk"] is not None else "",
            )
            for row in rows
        ],
        right="|".join((*rates, "load s", "first call ms", "steady after", "most memory", "on disk")),
    )


def operators(profiles: Sequence[Profiles]) -> Section:
    """What the runtimes' own profilers tell."""
    body: list[Markup] = []
    for number, one in enumerate(profiles, 1):
        body += [tag("h3", bench.setting(one))]
        for place, profile in enumerate(one["profiles"], 1):
            body += [tag("h3", profile["name"]), *_profile(f"operators{number}-{place}", profile)]
    return Section("operators", "Operators by time", body)


def _profile(name: str, profile: Mapping[str, Any]) -> Iterator[Markup]:
    if profile["failure"]:
        yield note(f"It could not be profiled: {profile['failure']}")
        return
    whole = float(profile["total"]["seconds"]) or 1.0
    shares = profile["by_operator"]
    shown = [Bar(one["name"], 1000 * one["seconds"], f"{one['seconds'] / whole:.0%}") for one in shares[: plots.MOST]]
    yield figure(
        plots.bars(name, "Operators by time", "milliseconds of a call", shown),
        "What a call spends its time with. The roofline is what the work takes at this machine's measured peaks.",
    )
    yield _shares("operator", shares, whole)
    yield tag("details", tag("summary", "By module of the model"), _shares("module", profile["by_module"], whole))


def _shares(kind: str, shares: Sequence[Mapping[str, Any]], whole: float) -> Markup:
    rows = [
        (
            tag("code", one["name"] or "(the model itself)"),
            one["steps"],
            _ms(one["seconds"]),
            f"{one['seconds'] / whole:.1%}",
            f"{one['roofline']:.0%}" if one["roofline"] is not None else "not known",
        )
        for one in shares
    ]
    return table(
        (kind, "steps", "ms", "of the call", "of the roofline"), rows, right="steps|ms|of the call|of the roofline"
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.4g}"


def _rate(calls: float) -> str:
    return f"{calls:,.0f}" if calls >= 1000 else f"{calls:.4g}"
