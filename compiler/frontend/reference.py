"""The reference: inputs, PyTorch's own answers, and the float64 oracle's, at several sizes of every dim."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compiler.cases import ORDINARY, Branch, Case, Decision, Edge, Reference
from compiler.contracts import Arrays, Dim, TensorSpec
from compiler.errors import CompileError
from compiler.frontend import draws
from compiler.frontend import sizes as plan
from compiler.frontend.examples import check_inputs, draw
from compiler.frontend.probes import probes
from compiler.frontend.program import InputRange, Program
from compiler.unit import alike, independent, part_alike


@dataclass(frozen=True)
class Effort:
    """How much is looked at; times in CPU seconds, of the reference alone, so that a busy machine looks as far."""

    draws: int  # of ordinary data at the middle and the low ends
    sizes: int  # drawn at random, beside the ends and the middle
    kinds: int  # draws of data of each other kind
    corner: float  # that all dims at their high ends may take together; above, each is taken there alone
    luck: float  # for further draws where few numbers tell the unit of error
    beyond: float  # for other sizes and other kinds of data
    probes: float


EFFORTS = {
    "quick": Effort(draws=1, sizes=0, kinds=0, corner=2, luck=1, beyond=0, probes=0.5),
    "normal": Effort(draws=2, sizes=1, kinds=1, corner=20, luck=4, beyond=10, probes=10),
    "thorough": Effort(draws=5, sizes=3, kinds=3, corner=600, luck=60, beyond=600, probes=600),
}

# A unit that few errors tell is uncertain, and must be taken wide. More draws make it narrow again.
_ENOUGH = 16  # errors by themselves in each output, over all cases
_MOST_DRAWS = 8


@dataclass(frozen=True)
class ReferencePlan:
    specs: tuple[TensorSpec, ...]
    ranges: Mapping[str, InputRange]
    given: Mapping[str, Arrays] = field(default_factory=dict)  # cases with real data: label -> inputs
    seed: int = 0
    effort: str = "quick"
    notes: tuple[str, ...] = ()

    @property
    def dims(self) -> dict[str, Dim]:
        return {dim.name: dim for spec in self.specs for dim in spec.dynamic}

    def inputs(self, sizes: Mapping[str, int], draw_number: int, kind: str = ORDINARY) -> Arrays:
        """Reproducible from the seed, the sizes, the draw's number and its kind alone."""
        rng = self.generator(sizes, draw_number)
        ordinary = {spec.name: draw(spec, sizes, self.ranges.get(spec.name), rng) for spec in self.specs}
        return draws.of_kind(kind, ordinary, self.ranges, rng)

    def generator(self, sizes: Mapping[str, int], *words: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *words, zlib.crc32(plan.label(sizes).encode())])


def compute(program: Program, wanted: ReferencePlan, producer: str) -> Reference:
    started = time.perf_counter()
    sweep = _Sweep(program, wanted)
    sweep.given()
    sweep.middle_and_ends()
    sweep.few_numbers()
    sweep.beyond()
    sweep.probe()
    notes = (*wanted.notes, *sweep.notes, *program.notes())
    seconds = time.perf_counter() - started
    return Reference(tuple(sweep.cases), producer, wanted.seed, notes, tuple(sweep.edges), seconds)


def branch(program: Program, case: Case, taken: tuple[Decision, ...]) -> Branch:
    """The answers where these decisions are taken the other way; all others near a boundary stay as they were."""
    pins = {(one.site, one.row): one.have for one in case.close}
    pins |= {(one.site, one.row): one.other for one in taken}
    found = program.answers(case.inputs, pins=pins)
    return Branch(taken, found.outputs, found.oracle, found.close)


class _Sweep:
    """Asks for one case after the other, and keeps the time."""

    def __init__(self, program: Program, wanted: ReferencePlan) -> None:
        self._program = program
        self._wanted = wanted
        self._effort = EFFORTS[wanted.effort]
        # Fixed shapes give one case only; a second draw makes the pooled unit of error less of an accident.
        self._draws = max(self._effort.draws, 1 if wanted.dims or wanted.given else 2)
        self._pace = float("inf")  # seconds per unit of volume; the first case also pays for warming up
        self._middle = plan.middle(wanted.dims)
        self.cases: list[Case] = []
        self.edges: list[Edge] = []
        self.notes: list[str] = []
        self._loops = program.loops_on_data()
        if self._loops:
            self.notes.append("ordinary data only: the model loops as often as its data says, and might never end")

    def given(self) -> None:
        for label, inputs in self._wanted.given.items():
            self.cases.append(self._answered(label, check_inputs(inputs, self._wanted.specs), inputs))

    def middle_and_ends(self) -> None:
        low = plan.ends(self._wanted.dims, "lo")
        for sizes in [self._middle, low] if low != self._middle else [low]:
            for number in range(self._draws):
                self._ordinary(sizes, number)
        for sizes in self._high():
            self._ordinary(sizes, 0)

    def _high(self) -> Iterable[plan.Sizes]:
        high = plan.ends(self._wanted.dims, "hi")
        expected = self._pace * plan.volume(high)
        if expected <= self._effort.corner or len(self._wanted.dims) == 1:
            return [high] if high else []
        self.notes.append(
            f"{plan.label(high)} together would take about {expected:.0f} s; each dim was taken to its high end alone"
        )
        return plan.corners(self._wanted.dims)

    def few_numbers(self) -> None:
        """Further draws, for as long as an output has few errors of its own in all and time is left."""
        started = time.process_time()
        some = all(array.size for array in self.cases[0].outputs.values())
        for number in range(self._draws, _MOST_DRAWS):
            if not some or self._fewest() >= _ENOUGH or time.process_time() - started > self._effort.luck:
                return
            self._ordinary(self._middle, number)

    def _fewest(self) -> float:
        return min((_told(self.cases, name) for name in self.cases[0].outputs), default=_ENOUGH)

    def beyond(self) -> None:
        """Other sizes, then data of other kinds, until the time is up."""
        ends, skipped = time.process_time() + self._effort.beyond, []
        for sizes, number, kind in self._others():
            if time.process_time() + self._pace * plan.volume(sizes) > ends:
                skipped.append(_label(sizes, number, kind))
            elif kind == ORDINARY:
                self._ordinary(sizes, number)
            else:
                self._of_kind(sizes, number, kind)
        if skipped:
            self.notes.append(f"left out, because they would take longer than allowed: {'; '.join(skipped)}")

    def _others(self) -> Iterator[tuple[plan.Sizes, int, str]]:
        """Sizes that were not taken before, and the kinds at the middle."""
        dims, known = self._wanted.dims, [dict(case.sizes) for case in self.cases]
        if self._effort.sizes:
            ones = {name: 1 if dim.lo == 0 and 1 in dim else self._middle[name] for name, dim in dims.items()}
            seeds = range(self._wanted.seed, self._wanted.seed + self._effort.sizes)
            for sizes in (plan.other_middle(dims), ones, *(plan.drawn(dims, seed) for seed in seeds)):
                if sizes not in known:
                    known.append(sizes)
                    yield sizes, 0, ORDINARY
        kinds = () if self._loops else draws.KINDS
        for number in range(self._effort.kinds):
            for kind in kinds:
                yield self._middle, number, kind

    def _ordinary(self, sizes: plan.Sizes, number: int) -> None:
        started = time.process_time()
        inputs = self._wanted.inputs(sizes, number)
        self.cases.append(self._answered(_label(sizes, number), sizes, inputs, number))
        self._pace = min(self._pace, (time.process_time() - started) / plan.volume(sizes))

    def _of_kind(self, sizes: plan.Sizes, number: int, kind: str) -> None:
        """A draw on which PyTorch itself raises, or gives NaN or infinity as it else does not, is an edge."""
        inputs, label = self._wanted.inputs(sizes, number, kind), _label(sizes, number, kind)
        if all(np.array_equal(inputs[name], array) for name, array in self._wanted.inputs(sizes, number).items()):
            return  # this model takes no data of that kind
        try:
            shaken = draws.shaken(inputs, self._wanted.generator(sizes, number))
            case = self._answered(label, sizes, inputs, number, kind, shaken)
        except CompileError as error:
            self.edges.append(Edge(label, inputs, {}, _said(error)))
            return
        if self._is_ordinary(case):
            self.cases.append(case)
        else:
            self.edges.append(Edge(label, inputs, case.outputs))

    def _is_ordinary(self, case: Case) -> bool:
        return all(
            (_finite(case.outputs[name]) and _finite(case.oracle[name]))
            or not all(_finite(known.outputs[name]) for known in self.cases if known.kind == ORDINARY)
            for name in case.outputs
        )

    def probe(self) -> None:
        if self._loops:
            return
        ordinary = self._wanted.inputs(self._middle, 0)
        found = list(probes(self._wanted.specs, self._wanted.ranges, ordinary))
        expected = len(found) * self._pace * plan.volume(self._middle) * _PLAIN
        if expected > self._effort.probes:
            self.notes.append(
                f"no probes: they would take about {expected:.1f} s; --effort normal or thorough does them"
            )
            return
        for name, inputs in found:
            try:
                self.edges.append(Edge(name, inputs, self._program.run(inputs, precise=False)))
            except CompileError as error:
                self.edges.append(Edge(name, inputs, {}, _said(error)))

    def _answered(
        self,
        label: str,
        sizes: Mapping[str, int],
        inputs: Arrays,
        number: int | None = None,
        kind: str = ORDINARY,
        shaken: Arrays | None = None,
    ) -> Case:
        found = self._program.answers(inputs, shaken=shaken)
        scores = self._program.scores(inputs, found.oracle)
        answered = Case(label, dict(sizes), inputs, found.outputs, found.oracle, number, kind, found.shaken, scores)
        return replace(answered, close=found.close, unlisted=found.unlisted)


# What PyTorch's own answer is taken to cost of both together.
_PLAIN = 0.4


def _label(sizes: plan.Sizes, number: int, kind: str = ORDINARY) -> str:
    words = plan.label(sizes) if kind == ORDINARY else f"{plan.label(sizes)}, {kind}"
    return words + (f" (draw {number + 1})" if number else "")


def _told(cases: Sequence[Case], name: str) -> float:
    """How many numbers an output has, or as how many its errors count, which may have much in common."""
    if not draws.is_float(cases[0].outputs[name]):
        return sum(case.outputs[name].size for case in cases)
    count, squares, parts = 0, 0.0, np.zeros(2)
    for case in cases:
        wanted = case.oracle[name].astype(np.float64, copy=False).reshape(-1)
        error = case.outputs[name].astype(np.float64).reshape(-1)
        known = np.isfinite(error) & np.isfinite(wanted)
        wanted, error = wanted[known], error[known] - wanted[known]
        count += error.size
        squares += float(np.sum(error**2))
        parts += alike(error, wanted, (0,))
    return independent(count, len(cases), part_alike(count, squares, parts))


def _finite(array: np.ndarray) -> bool:
    return not draws.is_float(array) or bool(np.isfinite(array.astype(np.float64)).all())


def _said(error: CompileError) -> str:
    return error.why or error.message
