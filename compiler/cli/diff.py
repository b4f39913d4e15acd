"""`compile diff A B`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from compiler.cli import console
from compiler.cli.options import speaking
from compiler.errors import CompileError, Exit

_SHOWN = 40


@click.command()
@click.argument("one")
@click.argument("other")
@click.option("--all", "everything", is_flag=True, help="every line, however many there are")
@speaking
def diff(one: str, other: str, everything: bool, **given: Any) -> int:
    """In what two graphs differ: .onnx files, or bundles that hold one.

    Operators by their number; inputs, outputs and values of one name by their type; weights by their content.
    """
    from compiler.ir.differences import differences

    found = differences(_graph(one), _graph(other))
    if given["as_json"]:
        console.show_json({"same": found.none, **asdict(found)})
        return Exit.OK
    if found.none:
        click.echo("the two have the same operators, shapes and weights")
    for title, rows in (("operators", found.operators), ("interface", found.interface)):
        _show(title, rows, everything=True)
    _show("shapes", found.shapes, everything=everything)
    _show("weights", found.weights, everything=everything)
    return Exit.OK


def _show(title: str, rows: Mapping[str, tuple[object, object]], *, everything: bool) -> None:
    if not rows:
        return
    click.echo(f"{title}:")
    shown = list(rows.items()) if everything else list(rows.items())[:_SHOWN]
    for name, (before, after) in shown:
        click.echo(f"  {name}: {_word(before)} -> {_word(after)}")
    if len(shown) < len(rows):
        click.echo(f"  and {len(rows) - len(shown)} more; --all shows them")


def _word(side: object) -> str:
    return "not there" if side == "" else str(side)


def _graph(text: str) -> Any:
    from compiler.frontend.loaders.onnx import load_onnx

    path = Path(text)
    if path.is_dir():
        path = _graph_of_bundle(path)
    return load_onnx(path)


def _graph_of_bundle(folder: Path) -> Path:
    from compiler import bundle as bundles

    found = bundles.read(folder)
    bundles.check(found)
    files = [folder / name for name in found.artifact.files if name.endswith(".onnx")]
    if not files:
        raise CompileError(
            "no-graph",
            f"'{folder}' holds no ONNX graph",
            why=f"what {found.artifact.target} built is {', '.join(found.artifact.files)}",
            hint="compare the graphs that --dump-passes writes",
        )
    return files[0]
