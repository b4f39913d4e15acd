"""`compile run BUNDLE --inputs data.npz`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from compiler.cli import console
from compiler.cli.options import for_target, speaking
from compiler.contracts import Array, dtype_name
from compiler.errors import Exit, UsageError


@click.command()
@click.argument("bundle")
@click.option("--inputs", "data", required=True, metavar="FILE", help=".npz or .safetensors")
@click.option("--outputs", "out", metavar="FILE.npz", help="where the outputs go (default: a summary is shown)")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="an option of the runtime")
@click.option("--trust", is_flag=True, help="also run a bundle that was rejected")
@speaking
def run(bundle: str, data: str, out: str | None, options: tuple[str, ...], trust: bool, **given: Any) -> int:
    """Run a bundle on data and show or keep what comes out."""
    import backends
    from compiler import bundle as bundles
    from compiler.frontend.examples import read_inputs

    if out is not None and not out.endswith(".npz"):
        raise UsageError("bad-option", f"outputs are written as .npz, not as '{out}'", where="--outputs")
    target = bundles.read(Path(bundle)).artifact.target
    with backends.load(bundle, options=for_target(options, target), trust=trust) as session:
        outputs = session(read_inputs(Path(data)))
    if out is not None:
        np.savez(out, **outputs)  # type: ignore[arg-type]
    summary = {name: _summary(array) for name, array in outputs.items()}
    if given["as_json"]:
        console.show_json({"outputs": summary, "file": out})
    elif out is None:
        _show(summary)
    elif not given["quiet"]:
        click.echo(f"wrote {', '.join(outputs)} to {out}")
    return Exit.OK


def _summary(array: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": dtype_name(array.dtype), "shape": list(array.shape)}
    if array.size and array.dtype.kind in "fiub":
        wide = array.astype(np.float64)
        facts |= {"min": float(wide.min()), "mean": float(wide.mean()), "max": float(wide.max())}
        facts["first"] = array.reshape(-1)[:5].astype(np.float64).tolist()
    return facts


def _show(summary: Mapping[str, Mapping[str, Any]]) -> None:
    for name, facts in summary.items():
        click.echo(f"{name}: {facts['dtype']}{facts['shape']}")
        if "min" in facts:
            click.echo(f"  min {facts['min']:.6g}, mean {facts['mean']:.6g}, max {facts['max']:.6g}")
            click.echo(f"  starts {', '.join(f'{value:.6g}' for value in facts['first'])}")
    sys.stdout.flush()
