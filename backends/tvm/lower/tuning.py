"""Schedules found by trial: TVM's MetaSchedule, for what is no product or convolution in float32.

TVM proposes candidates; each is compiled and timed here, in this process, until the seconds are up. What was measured
stays in a database in the cache, where later builds find it. TVM's own loop would want further packages and a C
compiler, and counts trials instead of seconds.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tvm
from tvm import ir, s_tir, tirx
from tvm.error import InternalError

from backends.tvm import kept, runtime
from backends.tvm.explain import Explain
from backends.tvm.target import Machine, of
from compiler.errors import CompileError

KIND = "tvm-tuning"

_TRIALS = 64  # of one kernel, in all builds together
_BATCH = 8
_WORTH = 20e-6  # seconds; what takes less is left alone
_MEASURED = 5e-3  # seconds for which a candidate is timed, three times
_HOPELESS = 4  # times as long as what we have: not timed any further

_FAILURES = (InternalError, s_tir.schedule.ScheduleError, RuntimeError, TypeError, ValueError)
_log = logging.getLogger("plumbline.tvm")


@dataclass
class Task:
    """One kernel: as it was before it was scheduled, and as our own schedule has it."""

    name: str
    module: ir.IRModule
    ours: tirx.PrimFunc
    calls: int
    arguments: list[Any] = field(default_factory=list)
    search: Any = None
    best: float = 0.0
    trials: int = 0
    failure: str = ""

    @property
    def promise(self) -> float:
        """What is left to gain is a guess: a share of its time in the whole, less with every trial."""
        return self.calls * self.best / (1 + self.trials)


class Tuner:
    def __init__(self, machine: Machine, seconds: float, explain: Explain) -> None:
        self.machine = machine
        self.seconds = seconds
        self.explain = explain
        self.report: list[str] = []
        self._target = of(machine)

    def tuned(self, functions: Mapping[str, tuple[tirx.PrimFunc, tirx.PrimFunc, int]]) -> dict[str, tirx.PrimFunc]:
        """By name, for those where something faster was found; given are the kernel before and after our schedule,
        and how often it is called."""
        runtime.configure(self.machine.cores, bind=False)
        end = time.monotonic() + self.seconds
        database = _database(kept.folder(KIND, str(self._target)))
        tasks = [task for name, given in functions.items() if (task := self._task(name, *given, database)) is not None]
        if not tasks:
            self.report.append("nothing to tune: each kernel has a schedule of its own, or takes no time")
            return {}
        self._search(tasks, database, end)
        return {task.name: made for task in tasks if (made := self._better(task, database)) is not None}

    def _task(self, name: str, function: tirx.PrimFunc, ours: tirx.PrimFunc, calls: int, database: Any) -> Task | None:
        arguments = _samples(function)
        if arguments is None:
            self._decline(name, "its sizes are only known when it runs")
            return None
        task = Task(name, _alone(function), ours, calls, arguments)
        task.best = self._seconds(_alone(ours), task)
        if task.best < _WORTH:
            self._decline(name, f"it takes {task.best * 1e6:.0f} µs")
            return None
        task.trials = len(database.get_top_k(database.commit_workload(task.module), _TRIALS))
        return task

    def _decline(self, name: str, why: str) -> None:
        self.explain.decline(f"tuning of {name}", why)

    def _search(self, tasks: list[Task], database: Any, end: float) -> None:
        """Batch by batch, the most promising kernel first."""
        begun, known = time.monotonic(), sum(task.trials for task in tasks)
        while time.monotonic() < end:
            open_tasks = [task for task in tasks if task.trials < _TRIALS and not task.failure]
            if not open_tasks:
                break
            task = max(open_tasks, key=lambda each: each.promise)
            for _ in self._batch(task, database):
                if time.monotonic() >= end:
                    break
            _log.info(
                "tuning, %.0f of %.0f s: %s, %d trials, %.3g ms",
                time.monotonic() - begun, self.seconds, task.name, task.trials, task.best * 1e3,
            )  # fmt: skip
        if tasks and all(task.failure for task in tasks) and not known:
            raise CompileError(
                "tuning-failed",
                "tvm could not try a single schedule",
                why=f"{tasks[0].name}: {tasks[0].failure}",
                hint="compile without --option tvm.tune",
            )

    def _batch(self, task: Task, database: Any) -> Iterator[None]:
        """Tries one candidate after the other; what makes the search itself fail ends it for this kernel."""
        from tvm.s_tir import meta_schedule as ms

        try:
            if task.search is None:
                task.search = self._started(task, database)
            candidates = task.search.generate_measure_candidates()
        except _FAILURES as error:
            task.failure = _last_line(error)
            self._decline(task.name, task.failure)
            return
        if not candidates:
            task.failure = "there is nothing left to try"
            return
        workload, results = database.commit_workload(task.module), []
        for candidate in candidates:
            task.trials += 1
            try:
                seconds = self._seconds(candidate.sch.mod, task)
            except _FAILURES as error:
                results.append(ms.runner.RunnerResult(None, _last_line(error)))
            else:
                task.best = min(task.best, seconds)
                results.append(ms.runner.RunnerResult([seconds], None))
                record = ms.database.TuningRecord(
                    candidate.sch.trace, workload, [seconds], self._target, candidate.args_info
                )
                database.commit_tuning_record(record)
            yield
        task.search.notify_runner_results(candidates, results)

    def _started(self, task: Task, database: Any) -> Any:
        from tvm.s_tir import meta_schedule as ms

        _load_intrinsics()
        context = ms.TuneContext(
            task.module,
            target=self._target,
            space_generator="post-order-apply",
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=4 * _BATCH, init_min_unmeasured=2 * _BATCH, genetic_num_iters=2
            ),
            task_name=task.name,
            rand_state=1 + task.trials,  # a later build tries others
            num_threads=self.machine.cores,
            logger=logging.getLogger("tvm.search"),  # too much for a user to read
        )
        # The model that learns would need xgboost; the search then follows what was measured best.
        context.pre_tuning(_TRIALS, _BATCH, database=database, cost_model=ms.cost_model.RandomModel())
        return context

    def _better(self, task: Task, database: Any) -> tirx.PrimFunc | None:
        """Both are timed once more, side by side: a record may be of another day."""
        schedule = database.query_schedule(task.module, self._target, task.name)
        if schedule is None:
            self.report.append(f"{task.name}: nothing was tried")
            return None
        was, now = (self._seconds(module, task) for module in (_alone(task.ours), schedule.mod))
        self.report.append(f"{task.name}: {was * 1e3:.3g} ms, tuned {now * 1e3:.3g} ms, {task.trials} trials")
        return schedule.mod["main"].without_attr("global_symbol") if now < was else None

    def _seconds(self, module: ir.IRModule, task: Task) -> float:
        timed = tvm.compile(module, self._target).mod
        once = float(timed.time_evaluator("main", tvm.cpu(), number=1)(*task.arguments).min)
        if task.best and once > _HOPELESS * task.best:
            return once
        number = max(1, int(_MEASURED / max(once, 1e-7)))
        return float(timed.time_evaluator("main", tvm.cpu(), number=number, repeat=3)(*task.arguments).min)


def _load_intrinsics() -> None:
    """MetaSchedule imports the instructions of all GPUs, which takes 25 s of CPU time; of these, a CPU's take 2 s."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        return
    package = ModuleType(name)
    package.__path__ = [str(Path(s_tir.__path__[0]) / "tensor_intrin")]
    sys.modules[name] = package
    for part in ("x86", "arm_cpu"):
        importlib.import_module(f"{name}.{part}")


def _alone(function: tirx.PrimFunc) -> ir.IRModule:
    return ir.IRModule({"main": function.with_attr({"global_symbol": "main", "tirx.noalias": True})})


def _samples(function: tirx.PrimFunc) -> list[Any] | None:
    """Something to call it with, where all sizes are fixed."""
    if not all(isinstance(param, tirx.Buffer) and _is_fixed(param) for param in function.params):
        return None
    return [_sample([int(n) for n in buffer.shape], str(buffer.dtype)) for buffer in function.params]


def _is_fixed(buffer: tirx.Buffer) -> bool:
    return all(isinstance(extent, tirx.IntImm) for extent in buffer.shape)


def _sample(shape: list[int], dtype: str) -> Any:
    """Whole numbers are 0, so that they are valid as indices."""
    drawn = np.random.default_rng(0).standard_normal(shape) if "float" in dtype else np.zeros(shape)
    return tvm.runtime.tensor(drawn.astype(dtype))


def _database(place: Path | None) -> Any:
    """One that cannot be read is begun anew."""
    from tvm.s_tir.meta_schedule import database

    if place is None:
        return database.MemoryDatabase()
    try:
        return database.JSONDatabase(work_dir=str(place))
    except _FAILURES:
        for file in place.glob("*.json"):
            file.unlink()
        return database.JSONDatabase(work_dir=str(place))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
