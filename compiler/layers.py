"""From a finished job to the errors in the midst of its graph: the way is walked again, as for a bisection."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from compiler import driver
from compiler.contracts import Backend, Progress, Ready
from compiler.diagnose.layers import layers
from compiler.diagnose.route import Route
from compiler.diagnose.runtime import Runtime
from compiler.errors import PlumblineError
from compiler.frontend.open import open_program
from compiler.job import Job, Outcome


def look(job: Job, outcome: Outcome, backend: Backend, progress: Progress) -> dict[str, Any] | None:
    """None, and a note, where there is nothing to be found; the bundle is good without it."""
    progress.stage("layers", job.target)
    if why := _useless(job, outcome, backend):
        progress.note(f"--layers: {why}")
        return None
    try:
        return _look(job, outcome, backend)
    except PlumblineError as error:
        progress.note(f"--layers: {error.message}")
        return None


def _useless(job: Job, outcome: Outcome, backend: Backend) -> str:
    state = backend.probe()
    if job.recipe.precision != "float32":
        return f"the report has the error of each layer in {job.recipe.precision} without it"
    if outcome.reference is None:
        return "without the reference there is nothing to hold values against"
    return "" if isinstance(state, Ready) and state.runs else f"{job.target} cannot run here"


def _look(job: Job, outcome: Outcome, backend: Backend) -> dict[str, Any]:
    assert outcome.reference is not None
    program = open_program(job.request)
    captured = driver.capture(program, driver.traced(job, program))
    steps = driver.steps(captured.source, job.passes)
    model, _ = Route(captured.model, steps, lambda: driver.target_passes(backend, job.passes)).walk()
    with TemporaryDirectory() as work:
        runtime = Runtime(backend, job.options, captured.signature.dims, Path(work))
        return layers(model, outcome.reference.cases[0], job.target, runtime)
