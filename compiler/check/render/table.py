"""The result of a check on a terminal, within 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from compiler.check.judge import Judged
from compiler.check.render import lines
from compiler.report.terminal import grid, page


def show(judged: Sequence[Judged], manifest: Path, *, quiet: bool) -> None:
    console = page()
    if not quiet:
        table = grid(*lines.COLUMNS)
        table.padding = (0, 1, 0, 0)
        for one in judged:
            model, target, status, *rest = lines.row(one)
            table.add_row(model, target, Text(status, style="bold red" if one.failed else _style(one)), *rest)
        console.print(table)
    for one in judged:
        for finding in one.findings:
            head = "error" if finding.fails else "note"
            style = "red" if finding.fails else "yellow"
            console.print(Text(f"{head}: {one.cell}: {finding.message}", style=style))
        if one.failed and one.measured is not None and one.measured.bundle:
            console.print(Text(f"  its bundle: {one.measured.bundle}"))
    bad = any(one.failed for one in judged)
    console.print(Text(lines.summary(judged, manifest), style="bold red" if bad else "green"))


def _style(judged: Judged) -> str:
    return "yellow" if judged.findings else "green"
