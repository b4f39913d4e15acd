"""`--precision auto`: what keeps the contract is looked for on plumbline's evaluator. The lowest of each kind is built,
held to both verdicts, and timed beside float32; one is kept, with the evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends import registry
from compiler import api, driver
from compiler.auto import asked, published
from compiler.bench.rows import Row, Table
from compiler.bench.run import Plan, bench
from compiler.bench.setting import Setting
from compiler.bench.subject import read
from compiler.contracts import Progress, Ready
from compiler.errors import CompileError, NumbersDifferError, PlumblineError, UnavailableError, UsageError
from compiler.frontend.handed_over import eval_mode
from compiler.job import FLOAT32, Job
from compiler.precision import promised
from compiler.precision.mixes import Base, bases
from compiler.precision.search import Clock, Search, Tried
from compiler.report import auto as report
from compiler.report import mixes as told
from compiler.search.choose import Choice, choose
from compiler.search.lower import no_gain
from compiler.search.objective import Objective

_SEARCHING = 0.6  # of the budget; the rest is for building and timing
_TIMING = (15.0, 60.0)  # seconds, at least and at most


@dataclass(frozen=True)
class Chosen:
    result: api.Result
    evidence: Mapping[str, Any]


@dataclass
class _Found:
    """What is known of one target."""

    target: str
    full: api.Result | None = None  # in float32
    tried: list[Tried] = field(default_factory=list)
    built: dict[str, tuple[Tried, api.Result]] = field(default_factory=dict)  # name -> what passed both verdicts


def auto_precision(
    job: Job,
    options: Mapping[str, Mapping[str, Any]],
    objective: Objective,
    *,
    budget: float,
    timeout: float,
    memory_limit: int | None,
    progress: Progress,
) -> Chosen:
    """`options` are those of each target. `job.recipe` tells what the user wants of any lower precision."""
    if not job.verify:
        raise UsageError("bad-option", "auto chooses among what is proven", hint="leave --no-verify away")
    states = {target: _state(target, alone=len(options) == 1) for target in options}
    job.place.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=f".{job.place.name}-", dir=job.place.parent) as work,
        eval_mode(job.request.model),
        driver.opened(job, progress) as front,
    ):
        jobs = {
            target: replace(job, target=target, options=own, recipe=FLOAT32, page=False, bisect=0.0)
            for target, own in options.items()
        }
        build = _Build(front, Path(work), timeout, memory_limit, progress)
        return _Auto(job, jobs, states, objective, budget, front, build, progress).chosen()


def _state(target: str, *, alone: bool) -> Ready:
    state = registry.probe(target)
    if not isinstance(state, Ready):
        raise UnavailableError("target-unavailable", f"{target} is not available", why=state.reason, hint=state.remedy)
    if not state.runs:
        why = state.note or "nothing can be timed that does not run"
        raise UnavailableError("cannot-run-here", f"{target} can be built here, but not run", why=why)
    return state


class _Build:
    """Bundles of one open model, in a folder that does not last."""

    def __init__(
        self, front: driver.Front, work: Path, timeout: float, memory_limit: int | None, progress: Progress
    ) -> None:
        self._front = front
        self._work = work
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._progress = progress

    def __call__(self, job: Job, name: str) -> api.Result:
        place = self._work / "".join(letter if letter.isalnum() else "-" for letter in f"{job.target} {name}")
        return api.finish(
            replace(job, place=place), self._front, last=False, timeout=self._timeout,
            memory_limit=self._memory_limit, progress=self._progress,
        )  # fmt: skip


class _Auto:
    def __init__(
        self,
        job: Job,
        jobs: Mapping[str, Job],
        states: Mapping[str, Ready],
        objective: Objective,
        budget: float,
        front: driver.Front,
        build: _Build,
        progress: Progress,
    ) -> None:
        self._job = job
        self._jobs = jobs
        self._states = states
        self._objective = objective
        self._front = front
        self._build = build
        self._progress = progress
        self._budget = budget
        self._started = time.perf_counter()
        self._clock = Clock(budget)
        self._found = [_Found(target) for target in jobs]
        self._failed: dict[str, PlumblineError | str] = {}

    def chosen(self) -> Chosen:
        for found in self._found:
            self._in_float32(found)
        self._found = [found for found in self._found if found.full is not None]
        if not self._found:
            raise self._nothing()
        try:
            self._search()
            for found in self._found:
                self._build_best(found)
            if not any(found.built for found in self._found):
                raise self._not_kept()
            return self._choose()
        except PlumblineError as error:
            first = self._found[0].full
            assert first is not None
            kept = published(self._job, first, {}, None)
            error.hint = "; ".join(filter(None, [error.hint, f"the float32 bundle is in {kept.folder}"]))
            raise

    # -- what there is ---------------------------------------------------------------------------------------------

    def _in_float32(self, found: _Found) -> None:
        try:
            result = self._build(self._jobs[found.target], "float32")
        except PlumblineError as error:
            if len(self._jobs) == 1:
                raise
            self._failed[self._name(found, "float32")] = error
            return
        if result.passed:
            found.full = result
        else:
            self._failed[self._name(found, "float32")] = "its numbers differ"

    def _nothing(self) -> PlumblineError:
        why = "; ".join(f"{name}: {why}" for name, why in self._failed.items())
        return CompileError("no-candidate", "no target computes what the model computes in float32", why=why)

    def _search(self) -> None:
        held_back = self._front.calibration.judged if self._front.calibration is not None else {}
        samples = self._front.calibration.samples if self._front.calibration is not None else None
        reference = self._front.reference(self._progress)
        assert reference is not None
        search = Search(
            self._front.take(last=False).model,
            self._front.signature,
            promised.on_real_data(reference, held_back),
            self._job.terms,
            samples,
            self._progress,
        )
        until = Clock(_SEARCHING * self._budget)
        every = [(found, base) for found in self._found for base in self._bases(found, data=samples is not None)]
        for found, base in every:
            if found.tried and until.left <= 0:
                self._failed[self._name(found, base.name)] = "the budget was over before it was tried"
            else:
                found.tried.append(search.whole(base))
        open_ones = [(found, one.base) for found in self._found for one in found.tried if not one.holds]
        for place, (found, base) in enumerate(open_ones):
            own = Clock(until.left / (len(open_ones) - place))
            if own.left > 0:
                by_weights = self._objective.goal in ("size", "memory")
                found.tried += search.mixes(base, own, by_weights=by_weights)

    def _bases(self, found: _Found, *, data: bool) -> list[Base]:
        try:
            return bases(self._job.recipe, found.target, self._states[found.target], self._objective.goal, data=data)
        except UnavailableError as error:
            if len(self._found) == 1:
                raise
            self._failed[found.target] = error
            return []

    def _build_best(self, found: _Found) -> None:
        """Of each kind the lowest mix that holds; if the runtime does not keep it, the next one."""
        for base in dict.fromkeys(one.base for one in found.tried):
            mixes = [one for one in found.tried if one.base == base and one.holds]
            for tried in sorted(mixes, key=lambda one: one.count):
                if any(one.built for one in self._found) and self._clock.left < _TIMING[0]:
                    self._failed[self._name(found, tried.name)] = "the budget was over before it was built"
                elif self._passes(found, tried):
                    break

    def _passes(self, found: _Found, tried: Tried) -> bool:
        name = self._name(found, tried.name)
        job = replace(self._jobs[found.target], recipe=replace(tried.recipe, signed=False, wide={}))
        try:
            result = self._build(job, tried.name)
        except PlumblineError as error:
            self._failed[name] = error
            return False
        if not result.passed:
            self._failed[name] = told.broken(result.manifest)
            return False
        found.built[name] = tried, result
        return True

    def _name(self, found: _Found, what: str) -> str:
        return what if len(self._jobs) == 1 else f"{found.target} {what}"

    # -- the choice ------------------------------------------------------------------------------------------------

    def _not_kept(self) -> PlumblineError:
        tried = [(found, one) for found in self._found for one in found.tried]
        found, closest = min(tried, key=lambda pair: pair[1].excess)
        why = f"{self._name(found, closest.name)} is the closest: {told.kept(told.promises(closest))}"
        if closest.holds:
            name = self._name(found, closest.name)
            why = f"{name} keeps it on the evaluator, and not on the runtime: {_reason(self._failed.get(name, ''))}"
        return NumbersDifferError(
            "contract-not-kept",
            f"no lower precision keeps the contract, of {len(tried)} that were tried",
            where="--precision auto",
            why=why,
            hint="a wider --contract, more --calibration data, or a larger --budget",
        )

    def _choose(self) -> Chosen:
        folders = {self._name(found, "float32"): found.full for found in self._found if found.full is not None}
        floats = list(folders)
        folders |= {name: result for found in self._found for name, (_, result) in found.built.items()}
        table = self._timed(folders)
        worse = no_gain(table.rows, floats, self._objective)
        usable = [name for name in folders if name not in worse]
        choice = choose(table.rows, {name: {} for name in usable}, self._objective)
        choice = replace(choice, refused={**worse, **choice.refused}, warnings=self._warnings(choice, floats))
        evidence = self._evidence(choice, table)
        self._progress.stage("write", str(self._job.place))
        return Chosen(published(self._job, folders[choice.row.name], {}, evidence), evidence)

    def _timed(self, results: Mapping[str, api.Result]) -> Table:
        subject = read([result.folder for result in results.values()], asked(self._job))
        candidates = dict(zip(results, subject.candidates.values(), strict=True))
        subject = replace(subject, candidates=candidates)
        setting = Setting(os.cpu_count() or 1, subject.usual(self._job.data))
        clients = (1, setting.threads) if self._objective.goal == "throughput" else (1,)
        seconds = min(max(self._clock.left, _TIMING[0]), _TIMING[1])
        (table,) = bench(subject, [setting], Plan((), clients, seconds, self._job.data, longer=True), self._progress)
        return table

    def _warnings(self, choice: Choice, floats: Sequence[str]) -> list[str]:
        if choice.row.name not in floats:
            return []
        return ["NOTHING LOWER THAN FLOAT32 GAINS ANYTHING: float32 is kept"]

    def _evidence(self, choice: Choice, table: Table) -> dict[str, Any]:
        objective = self._objective
        limits = {"for": objective.goal, "max_latency": objective.max_latency, "max_size": objective.max_size}
        rows = {row.name: row for row in table.rows}
        built = {name: tried for found in self._found for name, (tried, _) in found.built.items()}
        chosen = built.get(choice.row.name)
        return {
            **limits,
            **report.to_json(choice, table.to_json(), self._failed),
            "seconds": time.perf_counter() - self._started,
            "mixes": [*self._tried(rows, choice)],
            "high": [] if chosen is None else told.map_of(chosen),
        }

    def _tried(self, rows: Mapping[str, Row], choice: Choice) -> Iterator[dict[str, Any]]:
        for found in self._found:
            for tried in found.tried:
                name = self._name(found, tried.name)
                why = choice.refused.get(name) or _reason(self._failed.get(name, ""))
                yield told.to_json(name, tried, rows.get(name), why, chosen=name == choice.row.name)


def _reason(failure: PlumblineError | str) -> str:
    return failure if isinstance(failure, str) else failure.message
