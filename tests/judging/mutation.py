"""Plants faults into the small zoo and looks whether the judge sees them: `make mutation`.

Each placement is made from its number, so that an interrupted run goes on where it was. A fault counts by its effect:
the largest error of an element, of a row or of a whole output, in units of PyTorch's own rounding. A single element is
held against PyTorch's own worst one, and a row against its worst row: of a hundred thousand honest elements, too, the
worst is 5 units off or more.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import faults_of_answers
import faults_of_graphs
import faults_of_weights
import numpy as np
from faults import AnswerFault, Answers, GraphFault, NoPlaceError
from zoo_graphs import HOME, MODELS, Kept, kept

from compiler.cases import Case, Reference
from compiler.contracts import Array, Arrays
from compiler.errors import PlumblineError
from compiler.ir.evaluate import Evaluator
from compiler.unit import Floats, Unit
from compiler.validate.judge import judge
from compiler.validate.units import of_kind, units
from compiler.verdicts import Terms

FAULTS: tuple[GraphFault | AnswerFault, ...] = (
    *faults_of_weights.FAULTS,
    *faults_of_graphs.FAULTS,
    *faults_of_answers.FAULTS,
)
MUST_BE_CAUGHT = 8.0  # units of effect above which nothing may be missed
BUCKETS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, math.inf)
_TRIES = 400  # places that are looked at until one can be computed and changes something


@dataclass(frozen=True)
class Planted:
    """One placement: what it did to the answers, in units, and whether the judge refused them."""

    fault: str
    number: int
    model: str
    element: float
    row: float
    whole: float
    peak: float  # PyTorch's own worst element
    ridge: float  # and its worst row
    caught: bool

    @property
    def effect(self) -> float:
        return _size(self.element, self.row, self.whole, self.peak, self.ridge)


def planted(fault: GraphFault | AnswerFault, number: int, zoo: Sequence[Kept]) -> Planted | None:
    """None where the fault has no place in these models."""
    rng = random.Random(f"{fault.name} {number}")
    for _ in range(_TRIES):
        model = rng.choice(zoo)
        try:
            answers = _wrong_answers(fault, model, rng)
        except (NoPlaceError, PlumblineError):
            continue  # a graph that cannot be computed at all needs no judge
        reference = Reference(model.cases, "PyTorch, eager", 0)
        verdict = judge(reference, _Replayed(model.cases, answers), Terms())
        return Planted(fault.name, number, model.name, **effect(model.cases, answers), caught=not verdict.passed)
    return None


def _wrong_answers(fault: GraphFault | AnswerFault, model: Kept, rng: random.Random) -> Answers:
    graph = model.graph()
    if isinstance(fault, GraphFault):
        sites = fault.sites(graph)
        if not sites:
            raise NoPlaceError
        fault.plant(graph, rng.choice(sites), rng)
    evaluator = Evaluator(graph, precise=False)
    answers = [evaluator(case.inputs) for case in model.cases]
    if isinstance(fault, AnswerFault):
        fault.plant(answers, rng)
    return answers


class _Replayed:
    """Gives the answers of a run that is over, for the judge to ask for."""

    def __init__(self, cases: Iterable[Case], answers: Answers) -> None:
        self._known = {id(case.inputs): arrays for case, arrays in zip(cases, answers, strict=True)}

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return self._known[id(inputs)]


# -- how large a fault is -------------------------------------------------------------------------------------------


def effect(cases: Sequence[Case], answers: Answers) -> dict[str, float]:
    """The errors of the output that is farthest off, in its own units."""
    given = {id(case): arrays for case, arrays in zip(cases, answers, strict=True)}
    found = [
        _effect(name, known.get(name), mine, [given[id(case)] for case in mine])
        for kind, known in units(cases).items()
        for mine in (of_kind(cases, kind),)
        for name in cases[0].outputs
    ]
    return max(found, key=lambda sizes: _size(**sizes))


def _size(element: float, row: float, whole: float, peak: float, ridge: float) -> float:
    return max(element / peak, row / ridge, whole)


_NOTHING = {"element": 0.0, "row": 0.0, "whole": 0.0, "peak": 1.0, "ridge": 1.0}
_ANYTHING = {**_NOTHING, "element": math.inf, "row": math.inf, "whole": math.inf}  # not a matter of size


def _effect(name: str, unit: Unit | None, cases: Sequence[Case], answers: Answers) -> dict[str, float]:
    element = row = peak = ridge = squares = 0.0
    count = 0
    for case, arrays in zip(cases, answers, strict=True):
        want, own = case.oracle[name].astype(np.float64), case.outputs[name]
        if name not in arrays or arrays[name].shape != want.shape or arrays[name].dtype != own.dtype:
            return _ANYTHING
        error = np.abs(arrays[name].astype(np.float64) - want)
        if not np.isfinite(error).all():
            return _ANYTHING
        element, row = max(element, float(error.max(initial=0))), max(row, _worst_row(error))
        torch_error = np.abs(own.astype(np.float64) - want)
        peak, ridge = max(peak, float(torch_error.max(initial=0))), max(ridge, _worst_row(torch_error))
        squares, count = squares + float((error**2).sum()), count + error.size
    if unit is None or not unit.rms:
        return _ANYTHING if element else _NOTHING
    whole = math.sqrt(squares / max(count, 1))
    found = {"element": element, "row": row, "whole": whole, "peak": max(peak, unit.rms), "ridge": max(ridge, unit.rms)}
    return {which: size / unit.rms for which, size in found.items()}


def _worst_row(error: Floats) -> float:
    rows = np.atleast_1d(error).reshape(-1, error.shape[-1] if error.ndim else 1)
    return float(np.sqrt((rows**2).mean(-1)).max(initial=0))


# -- many of them ---------------------------------------------------------------------------------------------------


def recorded(log: Path) -> dict[tuple[str, int], Planted]:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    found = (Planted(**json.loads(line)) for line in lines if line.endswith("\n"))
    return {(each.fault, each.number): each for each in found}


def plant_all(placements: int, zoo: Sequence[Kept], known: dict[tuple[str, int], Planted]) -> Iterator[Planted]:
    """One of each kind, then the next of each."""
    for number in range(placements):
        for fault in FAULTS:
            if (fault.name, number) not in known and (found := planted(fault, number, zoo)) is not None:
                yield found


def missed(found: Iterable[Planted]) -> list[Planted]:
    return [each for each in found if each.effect > MUST_BE_CAUGHT and not each.caught]


def table(found: Sequence[Planted]) -> list[str]:
    """Of each kind: placements, how many had an effect that must be caught, how many of those were."""
    lines = ["| planted fault | placements | above 8 units | caught | smallest effect caught | missed above 8 |"]
    lines.append("|---|---|---|---|---|---|")
    for fault in FAULTS:
        mine = [each for each in found if each.fault == fault.name]
        large = [each for each in mine if each.effect > MUST_BE_CAUGHT]
        caught = min((each.effect for each in mine if each.caught), default=math.nan)
        lost = ", ".join(f"{each.effect:.1f} ({each.model})" for each in missed(mine)) or "none"
        counts = f"{len(mine)} | {len(large)} | {sum(each.caught for each in large)}"
        lines.append(f"| {fault.name} | {counts} | {caught:.3g} | {lost} |")
    return lines


def curve(found: Sequence[Planted]) -> list[str]:
    """How many faults are caught, by their effect."""
    lines = ["| effect in units | faults | caught |", "|---|---|---|"]
    for low, high in pairwise(BUCKETS):
        inside = [each for each in found if low <= each.effect < high or (high == each.effect == math.inf)]
        caught = sum(each.caught for each in inside)
        share = f"{caught / len(inside):.0%}" if inside else ""
        lines.append(f"| {low:g} to {high:g} | {len(inside)} | {caught} {share} |")
    return lines


def elements(found: Sequence[Planted]) -> str:
    """What is missed where a single element counts as the whole does."""
    alone = [each for each in found if not each.caught and each.element > MUST_BE_CAUGHT]
    largest = max((each.element for each in alone), default=0.0)
    return (
        f"{len(found)} placements; of those not caught, {len(alone)} are more than {MUST_BE_CAUGHT:g} units off at "
        f"their worst element, at most {largest:.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20, help="placements of each kind")
    parser.add_argument("--models", default=",".join(MODELS), help="of the small zoo, separated by commas")
    parser.add_argument("--log", type=Path, default=HOME / "mutation.jsonl")
    parser.add_argument("--again", action="store_true", help="forget what an earlier run has found")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this long")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    zoo = [kept(name) for name in options.models.split(",")]
    known = {} if options.again else recorded(options.log)
    started = time.monotonic()
    with options.log.open("w" if options.again else "a") as log:
        for found in plant_all(options.n, zoo, known):
            known[found.fault, found.number] = found
            log.write(json.dumps(asdict(found)) + "\n")
            log.flush()
            if time.monotonic() - started > options.seconds:
                break
    results = list(known.values())
    print("\n".join([*table(results), "", *curve(results), "", elements(results)]))
    return 1 if missed(results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
