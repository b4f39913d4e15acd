"""`compile targets`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from compiler.cli import console
from compiler.cli.options import speaking
from compiler.errors import Exit


@click.command()
@click.option("--ready", is_flag=True, help="only the names of the targets that can be built and run here")
@speaking
def targets(ready: bool, **given: Any) -> int:
    """What this machine can build and run, and what to do about the rest."""
    from backends import registry
    from compiler.contracts import Ready
    from compiler.report import terminal

    probes = {name: registry.probe(name) for name in registry.names()}
    if ready:
        click.echo("\n".join(name for name, probe in probes.items() if isinstance(probe, Ready) and probe.runs))
    elif given["as_json"]:
        rows = {name: {"available": isinstance(probe, Ready), **asdict(probe)} for name, probe in probes.items()}
        console.show_json({"targets": rows})
    else:
        terminal.show_targets(probes)
    return Exit.OK
