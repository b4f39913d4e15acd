"""`compile verify BUNDLE`."""

from __future__ import annotations

from typing import Any

import click

from compiler.cli import console
from compiler.cli.options import for_target, limits, memory, speaking
from compiler.errors import Exit


@click.command()
@click.argument("bundle")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="an option of the runtime")
@click.option("--trust", is_flag=True, help="run the function that the bundle's contract names")
@limits
@speaking
def verify(bundle: str, **given: Any) -> int:
    """Run a finished bundle against the reference that it carries. The model itself is not needed."""
    from pathlib import Path

    from compiler import api
    from compiler import bundle as bundles
    from compiler.record import verdict_to_json
    from compiler.report import terminal

    target = bundles.read(Path(bundle)).artifact.target
    with console.progress(quiet=given["quiet"], as_json=given["as_json"]) as shown:
        verdict = api.verify(
            bundle,
            options=for_target(given["options"], target),
            trust=given["trust"],
            timeout=given["timeout"],
            memory_limit=memory(given["memory_limit"]),
            progress=shown,
        )
    if given["as_json"]:
        console.show_json({"bundle": bundle, "verdict": verdict_to_json(verdict)})
    else:
        terminal.show_verdict(bundle, verdict_to_json(verdict), quiet=given["quiet"])
    return Exit.OK if verdict.passed else Exit.DIFFERS
