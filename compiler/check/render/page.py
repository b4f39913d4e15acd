"""The result of a check as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.check.judge import Judged
from compiler.check.render import lines
from compiler.check.render.document import document
from compiler.report.html import plots
from compiler.report.html.machine import environment
from compiler.report.html.markup import Markup, tag
from compiler.report.html.page import Head, Section, figure, marked, note, table
from compiler.report.html.page import page as html

_NUMBERS = "of its budget|lock|rms|its lock|size|time"


def page(judged: Sequence[Judged], manifest: Path, host: Mapping[str, Any]) -> str:
    bad = [one for one in judged if one.failed]
    data = document(judged, manifest)
    facts = [("hold", str(len(judged) - len(bad))), ("do not", str(len(bad)))]
    head = Head(
        manifest.name,
        "compile check",
        "bad" if bad else "good",
        f"{len(bad)} OF {len(judged)} DO NOT HOLD" if bad else f"ALL {len(judged)} HOLD",
        f"{data['summary']}.",
        facts,
    )
    sections = [
        Section("cells", "Models and targets", [*_matrix(judged)]),
        Section("findings", "What was found", [*_findings(judged)]),
        Section("numbers", "Of their error budget", [*_numbers(judged)]),
        environment(host, _versions(judged), {}),
    ]
    return html(head, sections, {**data, "host": dict(host)})


def _matrix(judged: Sequence[Judged]) -> Iterator[Markup]:
    targets = list(dict.fromkeys(one.cell.target for one in judged))
    cells = {(one.cell.model, one.cell.target): one for one in judged}
    rows = []
    for model in dict.fromkeys(one.cell.model for one in judged):
        found = [cells.get((model, target)) for target in targets]
        rows.append((tag("code", model), *(_status(one) if one is not None else "" for one in found)))
    yield table(("model", *targets), rows)


def _status(judged: Judged) -> Markup:
    return marked("bad" if judged.failed else "warn" if judged.findings else "good", lines.status(judged))


def _findings(judged: Sequence[Judged]) -> Iterator[Markup]:
    rows = [
        (
            tag("code", one.cell.model),
            one.cell.target,
            marked("bad" if finding.fails else "warn", finding.kind),
            finding.message,
        )
        for one in judged
        for finding in one.findings
    ]
    yield table(("model", "target", "what", ""), rows) if rows else note("Nothing.")


def _numbers(judged: Sequence[Judged]) -> Iterator[Markup]:
    held = sorted(_held(judged), key=lambda one: -one.now)
    if held:
        shown = held[: plots.MOST]
        left = f" {len(held) - len(shown)} more are in the table." if len(held) > len(shown) else ""
        yield figure(
            plots.against_the_lock("held", shown),
            f"Of each model and target the output that uses most of its budget; a bar is what the lock has.{left}",
        )
    head = ("model", "target", "check", "of its budget", "lock", "rms", "its lock", "precision", "size", "time")
    yield table(head, map(lines.row, judged), right=_NUMBERS)
    rows = [
        (tag("code", one.cell.model), one.cell.target, tag("code", output), f"{numbers.used:.4g}", f"{numbers.rms:.4g}",
         f"{numbers.error:.4g}")
        for one in judged
        if one.measured is not None and one.measured.figures is not None
        for output, numbers in one.measured.figures.outputs.items()
    ]  # fmt: skip
    yield tag("h3", "Each output")
    columns = ("model", "target", "output", "share of its budget", "rms", "largest error")
    yield table(columns, rows, right="share of its budget|rms|largest error")


def _held(judged: Sequence[Judged]) -> Iterator[plots.Held]:
    for one in judged:
        figures = one.measured.figures if one.measured is not None else None
        if figures is None or not figures.outputs:
            continue
        locked = one.locked.outputs.values() if one.locked is not None else ()
        before = max((numbers.used for numbers in locked), default=None)
        now = max(numbers.used for numbers in figures.outputs.values())
        yield plots.Held(str(one.cell), now, before, not one.failed)


def _versions(judged: Sequence[Judged]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in judged:
        if one.measured is not None and one.measured.figures is not None:
            found.update(one.measured.figures.versions)
    return found
