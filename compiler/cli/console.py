"""How the command line speaks: stages on stderr, results on stdout, errors in one shape."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from compiler.contracts import Progress, SilentProgress
from compiler.errors import PlumblineError


def show_error(error: PlumblineError, *, as_json: bool) -> None:
    if as_json:
        show_json({"error": error.to_json()})
        return
    styled = sys.stderr.isatty()
    head = click.style(f"error[{error.code}]", fg="red", bold=True) if styled else f"error[{error.code}]"
    click.echo(f"{head}: {error.message}", err=True)
    for label, text in error.details():
        click.echo(f"  {label + ':':<7}{text}", err=True)


def show_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def progress(*, quiet: bool, as_json: bool) -> Progress:
    if quiet or as_json:
        return SilentProgress()
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


class PlainProgress:
    """A line per stage as it begins; for logs."""

    def stage(self, name: str, detail: str = "") -> None:
        click.echo(f"{name}: {detail}" if detail else name, err=True)

    def note(self, text: str) -> None:
        click.echo(f"note: {text}", err=True)


class LiveProgress:
    """A spinner on the stage under way, and a line with its time for each that is done. rich honours NO_COLOR."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("")
        self._current: tuple[str, str, float] | None = None

    def stage(self, name: str, detail: str = "") -> None:
        self.done()
        self._current = (name, detail, time.perf_counter())
        self._status.update(f"[bold]{name}[/bold] {detail}")
        self._status.start()

    def note(self, text: str) -> None:
        self._console.print(f"[yellow]note:[/yellow] {text}")

    def done(self) -> None:
        if self._current is None:
            return
        self._status.stop()
        name, detail, started = self._current
        self._console.print(f"[green]✓[/green] {name:<10} [dim]{time.perf_counter() - started:5.1f} s[/dim]  {detail}")
        self._current = None


def finish(shown: Progress) -> None:
    """The last stage is done."""
    if isinstance(shown, LiveProgress):
        shown.done()
