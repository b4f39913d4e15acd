"""The result of a check as Markdown: for a file, and for the summary of a GitHub job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compiler.check.judge import Judged
from compiler.check.render import lines


def markdown(judged: Sequence[Judged], manifest: Path) -> str:
    rows = [("", *lines.COLUMNS), ("---",) * (len(lines.COLUMNS) + 1)]
    rows += [(lines.mark(holds=not one.failed), *lines.row(one)) for one in judged]
    said = [
        f"- {'**' if finding.fails else ''}{one.cell}{'**' if finding.fails else ''}: {_inline(finding.message)}"
        for one in judged
        for finding in one.findings
    ]
    table = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(["## Numerical parity", "", lines.summary(judged, manifest), "", *table, "", *said, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _inline(text: str) -> str:
    """In one paragraph, with nothing taken for HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
