"""From a job whose numbers differ to the place where they begin to: the way is walked again, stage by stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compiler import driver
from compiler.bundle import BISECT
from compiler.contracts import Backend, Progress, Ready
from compiler.diagnose.bisect import Suspects, bisect
from compiler.diagnose.diagnosis import Diagnosis
from compiler.diagnose.route import Route
from compiler.diagnose.runtime import Runtime
from compiler.diagnose.search import Clock
from compiler.frontend.open import open_program
from compiler.frontend.reference import branch
from compiler.job import Job, Outcome


def locate(job: Job, outcome: Outcome, backend: Backend, work: Path, seconds: float, progress: Progress) -> Diagnosis:
    """The model is loaded and captured again: while it compiles, nobody holds on to it for the case that it fails."""
    clock = Clock(seconds)
    assert outcome.reference is not None
    program = open_program(job.request)
    captured = driver.capture(program, driver.traced(job, program))
    state = backend.probe()
    runs = isinstance(state, Ready) and state.runs
    suspects = Suspects(
        job.target,
        outcome.artifact.runtime,
        outcome.reference,
        outcome.verdict,
        job.terms,
        Route(
            captured.model,
            driver.steps(captured.source, job.passes),
            lambda: driver.target_passes(backend, job.passes),
        ),
        program.inside(),
        Runtime(backend, job.options, captured.signature.dims, work) if runs else None,
        partial(branch, program) if program.decides() else None,
    )
    return bisect(suspects, job.place.with_name(job.place.name + BISECT), clock, progress)


def nothing_differs(outcome: Outcome) -> Diagnosis:
    """What can be said of a job whose numbers are right."""
    where = outcome.artifact.runtime
    if outcome.verdict.status == "not run":
        sentence = f"The graph computes what the model computes; {where} cannot run here, so nothing is known of it."
    else:
        sentence = f"Nothing differs: on {where} it computes what the model computes, {outcome.verdict.cases} cases."
    return Diagnosis("none", "", sentence)
