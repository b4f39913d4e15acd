"""Times every contender of a subject in turns, at each setting, within a budget of seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from compiler.bench import elsewhere
from compiler.bench.rows import Error, Row, Table
from compiler.bench.setting import Setting
from compiler.bench.subject import Asked, Candidate, Subject
from compiler.cases import Case
from compiler.contracts import Arrays, Progress
from compiler.errors import PlumblineError, UsageError, did_you_mean
from compiler.measure.contender import Contender
from compiler.measure.latency import latency, percentiles, steady_after
from compiler.measure.paired import Timings, measure
from compiler.validate.compare import compare

_MAKE = "compiler.bench.runnables:"
BASELINES = {
    "eager": "PyTorch, eager",
    "inductor": "torch.compile",
    "onnxruntime": "a plain export on onnxruntime's defaults",
    "openvino": "OpenVINO's own conversion, float32",
}
# What has to be exported first: by what, and to which file.
_EXPORTS = {"onnxruntime": ("onnx_file", "plain.onnx"), "openvino": ("openvino_file", "plain.xml")}

_BURST = 0.2  # seconds
_FEWEST_ROUNDS = 5
_MOST_ROUNDS = 200
_TIGHT = 0.01  # of a ratio's interval to either side: more rounds say nothing more
_START, _START_CALLS = 0.5, 200  # seconds and calls in which the pace is looked for
_RATE = 0.5  # seconds


@dataclass(frozen=True)
class Plan:
    """How it is measured."""

    against: tuple[str, ...]
    clients: tuple[int, ...]
    budget: float  # seconds for each setting
    data: Arrays | None = None
    cores: tuple[int, ...] = ()  # that contenders are held to; any, where there are none
    longer: bool = False  # a budget that is too short for the fewest rounds is exceeded, and not refused


def check_baselines(names: Sequence[str], subject: Subject) -> None:
    for name in names:
        if name not in BASELINES:
            hint = did_you_mean(name, BASELINES) or f"one of {', '.join(BASELINES)}"
            raise UsageError("bad-option", f"there is nothing called '{name}'", where="--against", hint=hint)
    if names and subject.asked is None:
        raise UsageError(
            "no-model",
            f"{names[0]} needs the model itself",
            why="it is not where the bundles were made from, or live objects were compiled",
            hint="--model MODEL says where it is",
        )


def bench(subject: Subject, settings: Sequence[Setting], plan: Plan, progress: Progress) -> Iterator[Table]:
    check_baselines(plan.against, subject)
    for setting in settings:
        with TemporaryDirectory() as work, ExitStack() as stack:
            yield _Bench(subject, setting, plan, Path(work), stack, progress).table()


class _Bench:
    """One setting."""

    def __init__(
        self, subject: Subject, setting: Setting, plan: Plan, work: Path, stack: ExitStack, progress: Progress
    ) -> None:
        self._subject = subject
        self._setting = setting
        self._plan = plan
        self._work = work
        self._stack = stack
        self._progress = progress
        self._inputs = plan.data if plan.data is not None else subject.plan.inputs(dict(setting.sizes), 0)
        self._specs = subject.fixed(self._inputs)
        self._environment = {"OMP_NUM_THREADS": str(setting.threads)}
        self._running: dict[str, Contender] = {}
        self._pace: dict[str, float] = {}  # seconds of a call

    def table(self) -> Table:
        case = self._reference() if self._plan.against else None
        rows = [self._of_baseline(name, case) for name in self._plan.against]
        rows += [self._of_bundle(name, candidate) for name, candidate in self._subject.candidates.items()]
        against = next((row.name for row in rows if row.name in self._running), "")
        if not against:
            return Table(self._setting, "", rows, cores=self._plan.cores)
        timings = self._timed(against)
        return Table(
            self._setting,
            against,
            [self._finished(row, timings, against) for row in rows],
            len(timings.rounds[against]),
            self._plan.cores,
        )

    # -- starting --------------------------------------------------------------------------------------------------

    def _of_bundle(self, name: str, candidate: Candidate) -> Row:
        bundle = candidate.bundle
        artifact = bundle.artifact
        row = Row(
            name,
            artifact.runtime,
            Error.of_bundle(bundle.manifest),
            place=str(bundle.folder),
            disk=sum((bundle.folder / file).stat().st_size for file in artifact.files),
        )
        # A candidate that is about threads keeps its own.
        options = {"threads": self._setting.threads, **candidate.options}
        row = self._started(row, "bundle", str(bundle.folder), self._inputs, options)
        return row if row.failure else replace(row, note=elsewhere.note(bundle))

    def _of_baseline(self, name: str, case: Case | PlumblineError | None) -> Row:
        asked = self._subject.asked
        assert asked is not None
        if name not in _EXPORTS:
            row = Row(name, BASELINES[name], Error("unknown"))
            row = self._started(row, name, asked, self._specs, self._inputs, self._setting.threads)
        else:
            row = Row(f"plain {name}", BASELINES[name], Error("unknown"))
            try:
                file = self._exported(name, row.name, asked)
            except PlumblineError as error:
                return replace(row, failure=_told(error))
            row = replace(row, disk=sum(part.stat().st_size for part in file.parent.glob(f"{file.stem}.*")))
            row = self._started(row, f"plain_{name}", str(file), self._inputs, self._setting.threads)
        return replace(row, error=self._judged(row.name, case)) if not row.failure else row

    def _exported(self, name: str, label: str, asked: Asked) -> Path:
        """In a process of its own: its memory is not that of what is timed."""
        if asked.request.path.suffix == ".onnx":
            return asked.request.path
        function, file = _EXPORTS[name]
        self._progress.stage("export", label)
        with Contender(label, _MAKE + function, asked, self._specs, self._inputs, self._work / file):
            return self._work / file

    def _started(self, row: Row, make: str, *arguments: Any) -> Row:
        self._progress.stage("start", f"{row.name}, {self._setting}")
        try:
            environment, cores = self._environment, self._plan.cores
            contender = Contender(row.name, _MAKE + make, *arguments, environment=environment, cores=cores)
            self._stack.enter_context(contender)
            start = contender.start(_START, _START_CALLS)
        except PlumblineError as error:
            return replace(row, failure=_told(error))
        self._running[row.name] = contender
        self._pace[row.name] = min(start.calls)
        return replace(row, load=start.load, first=start.calls[0], steady_after=steady_after(start.calls))

    # -- numbers ---------------------------------------------------------------------------------------------------

    def _reference(self) -> Case | PlumblineError:
        """What PyTorch gives on the very data that is timed."""
        asked = self._subject.asked
        self._progress.stage("reference", "PyTorch, and in float64")
        try:
            with Contender("reference", f"{_MAKE}reference", asked, self._specs, self._inputs) as contender:
                outputs, oracle = contender.answer()
        except PlumblineError as error:
            return error
        return Case("what was timed", dict(self._setting.sizes), self._inputs, outputs, oracle)

    def _judged(self, label: str, case: Case | PlumblineError | None) -> Error:
        if not isinstance(case, Case):
            return Error("unknown")
        answers = self._running[label].answer()
        named = dict(zip(case.outputs, answers, strict=False))
        verdict = compare([case], [named])
        return Error(verdict.status, verdict.worst.used if verdict.worst else None)

    # -- timing ----------------------------------------------------------------------------------------------------

    def _timed(self, against: str) -> Timings:
        running = list(self._running.values())
        self._hold_budget()
        self._progress.stage("measure", f"{len(running)} in turns, {self._setting}")
        end = time.perf_counter() + self._plan.budget

        def enough(timings: Timings) -> bool:
            return time.perf_counter() > end or all(
                _is_tight(timings, name, against) for name in self._running if name != against
            )

        return measure(running, rounds=_FEWEST_ROUNDS, seconds=_BURST, enough=enough, most_rounds=_MOST_ROUNDS)

    def _hold_budget(self) -> None:
        """Whether the fewest rounds that say anything fit."""
        needed = (_FEWEST_ROUNDS + 1) * sum(max(_BURST, 3 * seconds) for seconds in self._pace.values())
        if needed <= self._plan.budget:
            return
        message = f"{self._plan.budget:g} s are too short to time {len(self._pace)} contenders at {self._setting}"
        why = f"{_FEWEST_ROUNDS} rounds take about {needed:.0f} s"
        if not self._plan.longer:
            raise UsageError("budget-too-short", message, why=why, hint=f"--budget {math.ceil(needed)}s")
        self._progress.note(f"{message}; {why}, and that is taken")

    def _finished(self, row: Row, timings: Timings, against: str) -> Row:
        if row.name not in self._running:
            return row
        contender = self._running[row.name]
        self._progress.stage("throughput", row.name)
        rates = {clients: contender.rate(clients, _RATE) for clients in self._plan.clients}
        return replace(
            row,
            latency=latency(timings.calls[row.name]),
            spread=percentiles(timings.calls[row.name]),
            bursts=timings.rounds[row.name],
            ratio=timings.ratio(row.name, against) if row.name != against else None,
            rates=rates,
            peak=contender.peak(),
        )


def _is_tight(timings: Timings, name: str, against: str) -> bool:
    ratio = timings.ratio(name, against)
    return ratio.high - ratio.low < 2 * _TIGHT * ratio.value


def _told(error: PlumblineError) -> str:
    return f"{error.message}: {error.why}" if error.why else error.message
