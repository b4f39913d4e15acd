"""The reference: inputs, PyTorch's own answers, and the float64 oracle's, at several sizes of every dim."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from compiler.contracts import Arrays, Case, Dim, Reference, TensorSpec
from compiler.frontend import sizes as plan
from compiler.frontend.examples import check_inputs, draw
from compiler.frontend.program import InputRange, Program

EFFORTS = ("quick", "normal", "thorough")

# How long, in seconds, the case with every dim at its high end may take before it is split into one case per dim.
_CORNER_BUDGET = {"quick": 2.0, "normal": 20.0, "thorough": 600.0}
_DRAWS = {"quick": 1, "normal": 2, "thorough": 5}

# A unit of error that few numbers tell is uncertain, and must be taken wide. More draws make it narrow again.
_ENOUGH = 16  # numbers in each output, over all cases
_MOST_DRAWS = 8
_DRAW_BUDGET = {"quick": 1.0, "normal": 4.0, "thorough": 60.0}  # seconds


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

    def inputs(self, sizes: plan.Sizes, draw_number: int) -> Arrays:
        """Reproducible from the seed, the sizes and the draw's number alone."""
        words = [self.seed, draw_number, zlib.crc32(plan.label(sizes).encode())]
        rng = np.random.default_rng(words)
        return {spec.name: draw(spec, sizes, self.ranges.get(spec.name), rng) for spec in self.specs}


def compute(program: Program, wanted: ReferencePlan, producer: str) -> Reference:
    notes = list(wanted.notes)
    cases = [
        _case(program, label, check_inputs(inputs, wanted.specs), inputs) for label, inputs in wanted.given.items()
    ]
    # Fixed shapes give one case only; a second draw makes the pooled unit of error less of an accident.
    draws = max(_DRAWS[wanted.effort], 1 if wanted.dims or cases else 2)
    pace = float("inf")  # seconds per unit of volume; the first case also pays for warming up
    for sizes in _low_and_middle(wanted.dims):
        for number in range(draws):
            started = time.perf_counter()
            cases.append(_drawn(program, wanted, sizes, number))
            pace = min(pace, (time.perf_counter() - started) / plan.volume(sizes))
    cases += [_drawn(program, wanted, sizes, 0) for sizes in _high(wanted, pace, notes)]
    cases += list(_more(program, wanted, cases, draws))
    return Reference(tuple(cases), producer, wanted.seed, (*notes, *program.notes()))


def _more(program: Program, wanted: ReferencePlan, cases: list[Case], drawn: int) -> Iterator[Case]:
    """Further draws, for as long as an output has few numbers in all and time is left."""
    sizes, started = plan.middle(wanted.dims), time.perf_counter()
    fewest = min((sum(case.outputs[name].size for case in cases) for name in cases[0].outputs), default=_ENOUGH)
    each = min((array.size for array in cases[0].outputs.values()), default=0)
    for number in range(drawn, _MOST_DRAWS):
        if fewest >= _ENOUGH or not each or time.perf_counter() - started > _DRAW_BUDGET[wanted.effort]:
            return
        yield _drawn(program, wanted, sizes, number)
        fewest += each


def _label(sizes: plan.Sizes, number: int) -> str:
    return plan.label(sizes) + (f" (draw {number + 1})" if number else "")


def _low_and_middle(dims: Mapping[str, Dim]) -> Iterator[plan.Sizes]:
    middle = plan.middle(dims)
    low = plan.ends(dims, "lo")
    yield middle
    if low != middle:
        yield low


def _high(wanted: ReferencePlan, pace: float, notes: list[str]) -> Iterator[plan.Sizes]:
    if not wanted.dims:
        return
    high = plan.ends(wanted.dims, "hi")
    expected = pace * plan.volume(high)
    if expected <= _CORNER_BUDGET[wanted.effort] or len(wanted.dims) == 1:
        yield high
        return
    notes.append(
        f"{plan.label(high)} together would take about {expected:.0f} s; each dim was taken to its high end alone"
    )
    yield from plan.corners(wanted.dims)


def _drawn(program: Program, wanted: ReferencePlan, sizes: plan.Sizes, number: int) -> Case:
    return _case(program, _label(sizes, number), sizes, wanted.inputs(sizes, number), number)


def _case(program: Program, label: str, sizes: Mapping[str, int], inputs: Arrays, number: int | None = None) -> Case:
    return Case(
        name=label,
        sizes=dict(sizes),
        inputs=inputs,
        outputs=program.run(inputs, precise=False),
        oracle=program.run(inputs, precise=True),
        draw=number,
    )
