"""What `--target auto` chose, and from what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from compiler.errors import PlumblineError
from compiler.report import bench, numbers
from compiler.report.terminal import page


def to_json(choice: Any, table: bench.Table, failed: Mapping[str, PlumblineError | str]) -> dict[str, Any]:
    return {
        "chosen": choice.row.name,
        "refused": dict(choice.refused),
        "warnings": list(choice.warnings),
        "failed": {name: one if isinstance(one, str) else one.to_json() for name, one in failed.items()},
        "table": table,
    }


def show(folder: Path, told: Mapping[str, Any], *, quiet: bool) -> None:
    console = page()
    if not quiet:
        bench.show(told["table"])
    for name, why in told["failed"].items():
        console.print(
            Text(f"{name} is no candidate: {why if isinstance(why, str) else why['message']}", style="yellow")
        )
    for name, why in told["refused"].items():
        console.print(Text(f"{name} was not chosen: {why}", style="yellow"))
    for warning in told["warnings"]:
        console.print(Text(warning, style="bold red"))
    console.print(Text(f"{sentence(told).removesuffix('.')}; it is in {folder}.", style="green"))


def sentence(told: Mapping[str, Any]) -> str:
    row = chosen(told)
    text = f"Chosen: {row['name']}, {1000 * row['latency']['p50']:.3g} ms a call at {bench.setting(told['table'])}"
    if row["ratio"] is not None:
        text += f", {bench.faster(row['ratio'], told['table']['against'])}"
    return f"{text}; {numbers.full(row)}."


def chosen(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of the choice."""
    rows: list[Mapping[str, Any]] = told["table"]["rows"]
    return next(row for row in rows if row["name"] == told["chosen"])
