"""The process that compiles one model for its targets. It may crash; the others go on.

One process for each model: what the user's code registers with torch, or leaves in memory, meets no other model.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.bundle import REFERENCE
from compiler.check import cells
from compiler.check.cells import Measured
from compiler.check.manifest import Entry
from compiler.check.measure import measured
from compiler.check.touched import Touched
from compiler.child import listening
from compiler.contracts import SilentProgress
from compiler.errors import PlumblineError

if TYPE_CHECKING:
    from compiler.api import Result
    from compiler.job import Job


@dataclass(frozen=True)
class Task:
    """One model; everything that a worker must know."""

    entry: Entry
    targets: tuple[str, ...]
    output: Path
    keep: bool  # the bundles, also where all is well
    timeout: float
    memory_limit: int | None


@dataclass(frozen=True)
class Report:
    """What came of a task, and which files it read."""

    measured: dict[str, Measured]
    files: dict[str, str]


def main(requests: int, answers: int) -> None:
    asked, told = listening(requests, answers)
    task: Task = asked.recv()
    touched = Touched(task.output)
    sys.addaudithook(touched.hear)
    found = dict(_compiled(task))
    told.send(Report(found, touched.files()))


def _compiled(task: Task) -> Iterator[tuple[str, Measured]]:
    from compiler import api

    left = list(task.targets)
    started = time.perf_counter()
    try:
        jobs = [_job(task, target) for target in left]
        progress = SilentProgress()
        for result in api.run_all(jobs, timeout=task.timeout, memory_limit=task.memory_limit, progress=progress):
            found = cells.failed(result) if isinstance(result, PlumblineError) else _measured(result, task)
            now = time.perf_counter()
            yield left.pop(0), replace(found, seconds=now - started)
            started = now
    except PlumblineError as error:  # before any target had its turn: it is the model that does not compile
        for target in left:
            yield target, replace(cells.failed(error), seconds=time.perf_counter() - started)


def _job(task: Task, target: str) -> Job:
    from compiler.frontend.examples import read_inputs
    from compiler.frontend.program import Request
    from compiler.job import Job
    from compiler.precision.recipe import Recipe, mixture
    from compiler.terms import asked

    entry = task.entry
    precision, rest = mixture(entry.precision)
    return Job(
        Request(entry.model, entry.factory, entry.trust, entry.translate),
        target,
        task.output / f"{re.sub('[^A-Za-z0-9_.-]+', '_', entry.name)}.{target}",
        inputs=entry.inputs,
        data=read_inputs(entry.data) if entry.data is not None else None,
        options=entry.options.get(target, {}),
        seed=entry.seed,
        effort=entry.effort,
        lift_random=entry.lift_random,
        terms=asked(entry.contract, entry.atol, entry.rtol),
        recipe=Recipe(precision, entry.method, keep=entry.keep, rest=rest, seed=entry.seed),
        calibration=entry.calibration,
        page=task.keep,
    )


def _measured(result: Result, task: Task) -> Measured:
    folder = result.folder
    size = sum((folder / name).stat().st_size for name in result.manifest["artifact"]["files"])
    units = json.loads((folder / REFERENCE / "units.json").read_text(encoding="utf-8"))
    found = measured(result.manifest, size, units)
    if result.passed and not task.keep:
        shutil.rmtree(folder)
        return found
    return replace(found, bundle=str(folder))
