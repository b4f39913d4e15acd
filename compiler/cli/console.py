"""How the command line speaks: stages on stderr, results on stdout, errors in one shape."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.markup import escape

from compiler.contracts import Progress, SilentProgress
from compiler.errors import PlumblineError


def show_error(error: PlumblineError, *, as_json: bool) -> None:
    if as_json:
        show_json({"error": error.to_json()})
        return
    styled = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    head = click.style(f"error[{error.code}]", fg="red", bold=True) if styled else f"error[{error.code}]"
    click.echo(f"{head}: {error.message}", err=True)
    for label, text in error.details():
        click.echo(f"  {label + ':':<7}{text}", err=True)


def show_answer(sentence: str, rows: Iterable[tuple[str, str]]) -> None:
    """A sentence, and what is known beside it under labels; a row without a label belongs to the one above."""
    click.echo(sentence)
    rows = list(rows)
    width = max((len(label) for label, _ in rows), default=0) + 2
    for label, text in rows:
        click.echo(f"  {label + ':' if label else '':<{width}}{text}")


def show_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


@contextmanager
def progress(*, quiet: bool, as_json: bool) -> Iterator[Progress]:
    if quiet or as_json:
        yield SilentProgress()
    elif not sys.stderr.isatty():
        yield PlainProgress()
    else:
        shown = LiveProgress()
        try:
            yield shown
            shown.done()
        finally:
            shown.stop()


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
        self._status.update(f"[bold]{name}[/bold] {escape(detail)}")
        self._status.start()

    def note(self, text: str) -> None:
        self._console.print(f"[yellow]note:[/yellow] {escape(text)}")

    def done(self) -> None:
        if self._current is None:
            return
        self.stop()
        name, detail, started = self._current
        took = f"[dim]{time.perf_counter() - started:5.1f} s[/dim]"
        self._console.print(f"[green]✓[/green] {name:<10} {took}  {escape(detail)}")
        self._current = None

    def stop(self) -> None:
        """The spinner goes, and the cursor that it hides comes back."""
        self._status.stop()
