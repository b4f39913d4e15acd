"""`compile bisect MODEL --target T`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from compiler.cli import console
from compiler.cli.build import build, job_of, targets_of
from compiler.cli.options import configured, memory
from compiler.errors import Exit, UsageError

# Options of compiling that say nothing about the model or its numbers, and what stands for them. In lower precision
# numbers differ on purpose, everywhere; the report has the error of each layer.
_NEEDLESS: dict[str, Any] = {
    "no_verify": False,
    "no_bisect": False,
    "require_run": False,
    "expect": (),
    "explain": False,
    "dump_passes": None,
    "paranoid": False,
    "strip_provenance": False,
    "layers": False,
    "precision": "float32",
    "method": "auto",
    "calibration": None,
    "calibrator": "auto",
    "group_size": 64,
    "keep": (),
    "goal": None,
    "max_latency": None,
    "max_size": None,
    "budget": None,
}


@click.command()
@click.option("--time", "seconds", type=float, default=600, show_default=True, help="seconds that the search may take")
@click.pass_context
def bisect(context: click.Context, /, **given: Any) -> int:
    """Compile MODEL for one target, and find where its numbers begin to differ: the exporter, a pass, or the runtime.

    The smallest piece that shows the difference goes into a folder beside the bundle's place, with a script that needs
    nothing but the runtime. The exit code is 3 where something differs, and 0 where nothing does.
    """
    from compiler import api

    options = {**_NEEDLESS, **configured(context, given, others=_NEEDLESS)}
    targets = targets_of(options["target"] or "")
    if targets in ([], [""]):
        raise UsageError("no-target", "no target was given", hint="--target onnxruntime; `compile targets` lists them")
    if len(targets) > 1:
        raise UsageError("bad-option", "a bisection is about one target", hint=f"--target {targets[0]}")
    job = replace(job_of(options, targets[0]), bisect=options["seconds"])
    limit = memory(options["memory_limit"])
    with console.progress(quiet=options["quiet"], as_json=options["as_json"]) as shown:
        found = api.bisect(job, timeout=options["timeout"], memory_limit=limit, progress=shown)
    if options["as_json"]:
        console.show_json(found.to_json())
    else:
        console.show_answer(found.sentence, found.details())
    return Exit.DIFFERS if found.differs else Exit.OK


bisect.params[:0] = [parameter for parameter in build.params if parameter.name not in _NEEDLESS]
