"""What GitHub shows beside the code: an annotation for each finding, at the model's place in the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from compiler.check.judge import Judged
from compiler.check.manifest import Entry


def commands(judged: Sequence[Judged], entries: Iterable[Entry], manifest: Path) -> Iterator[str]:
    """Commands of a workflow; GitHub reads them from what a step prints."""
    lines = {entry.name: entry.line for entry in entries}
    file = os.path.relpath(manifest.resolve(), os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    for one in judged:
        for finding in one.findings:
            level = "error" if finding.fails else "notice"
            place = {"file": file, "line": str(lines.get(one.cell.model, 1)), "title": f"{one.cell}: {finding.kind}"}
            yield f"::{level} {_properties(place)}::{_data(finding.message)}"


def add_to_summary(text: str) -> None:
    """The page of the job; GitHub names the file that becomes it."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if place:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def runs_here() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _properties(values: Mapping[str, str]) -> str:
    return ",".join(f"{key}={_data(value).replace(':', '%3A').replace(',', '%2C')}" for key, value in values.items())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
