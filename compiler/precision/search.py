"""The lowest mix of precisions that keeps a contract: a bounded search on plumbline's own evaluator.

Everything as low as it gets comes first. Where that does not keep the contract, layers are put back in the order of
what they cost the outputs for each multiplication (or each weight) that they save, and the fewest of them that keep it
are looked for by bisection. The first guess is told by the errors of single layers, whose squares add up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import onnx_ir as ir

from compiler.cases import Reference
from compiler.contracts import Array, Arrays, Check, Progress, Signature
from compiler.ir.evaluate import Evaluator
from compiler.precision import promised
from compiler.precision.apply import lower_precision
from compiler.precision.mixes import Base
from compiler.precision.recipe import Recipe, Samples
from compiler.precision.sensitivity import Unit, relative_error, sensitivities
from compiler.validate.judge import judge
from compiler.verdicts import Clause, Promise, Terms, Verdict

MOST_SAMPLES = 6  # batches that a trial is calibrated on; what is built gets them all
MOST_CASES = 8
_ON_LAYERS = 0.4  # of the time: measuring single layers
_THIN = 0.9  # of what is allowed: the runtime may well fail there, and should find the next mix
_GUESSES = 4  # the rest is bisected
_STEP = 16  # of so many layers, one more or less is not looked for


@dataclass(frozen=True)
class Tried:
    """One mix, and what it keeps of the model on the evaluator."""

    base: Base
    recipe: Recipe
    back: tuple[Unit, ...]  # what was put back
    layers: int  # that were low to begin with
    promises: tuple[Promise, ...]
    excess: float  # how many times as far off as the contract allows
    error: float  # of the outputs, rms, relative
    seconds: float

    @property
    def holds(self) -> bool:
        return self.excess <= 1

    @property
    def count(self) -> int:
        """Layers that were put back."""
        return sum(len(unit.layers) for unit in self.back)

    @property
    def name(self) -> str:
        return f"{self.base.name}, {self.count} of {self.layers} in {self.base.high}" if self.back else self.base.name


class Clock:
    """What is left of a budget."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        return self._end - time.perf_counter()


class Search:
    """Over one model; what was tried for one target is known for the next."""

    def __init__(
        self,
        model: ir.Model,
        signature: Signature,
        reference: Reference,
        terms: Terms,
        samples: Samples | None,
        progress: Progress,
    ) -> None:
        self._model = model
        self._signature = signature
        self._reference = replace(reference, cases=reference.cases[:MOST_CASES], edges=())
        self._terms = terms
        self._samples = list(islice(samples, MOST_SAMPLES)) if samples is not None else None
        self._progress = progress
        self._tried: list[Tried] = []
        self._units: dict[tuple[str, str], list[Unit]] = {}

    def whole(self, base: Base) -> Tried:
        """Everything as low as it gets."""
        return self._trial(base, (), 0)

    def mixes(self, base: Base, clock: Clock, *, by_weights: bool = False) -> list[Tried]:
        """With layers put back; at least one mix, and as many as there is time for."""
        first = self.whole(base)
        units = self._sensitive(base, clock)

        def cost(unit: Unit) -> float:
            return unit.error / max(1, unit.weights if by_weights else unit.work)

        ordered = sorted(units, key=lambda unit: (-cost(unit), unit.layers))
        layers = sum(len(unit.layers) for unit in ordered)
        found: list[Tried] = []

        def holds(at: int) -> bool:
            found.append(self._trial(base, tuple(ordered[:at]), layers))
            return found[-1].holds

        low, high = 0, len(ordered)
        at = _between(low, high, _guess(ordered, 0, first.excess))
        while low < at < high and (not found or clock.left > found[-1].seconds):
            kept = holds(at)
            low, high = (low, at) if kept else (at, high)
            if kept and high - low <= len(ordered) // _STEP:
                break
            told = _guess(ordered, at, found[-1].excess) if len(found) < _GUESSES else (low + high) // 2
            at = _between(low, high, told)
        good = [one for one in found if one.holds]
        more = high + max(1, len(ordered) // _STEP)
        if len(good) == 1 and good[0].excess > _THIN and more < len(ordered) and clock.left > good[0].seconds:
            holds(more)
        return found

    def _sensitive(self, base: Base, clock: Clock) -> list[Unit]:
        recipe = replace(base.recipe, rest="float32", own=())
        if base.weights_only:
            recipe = replace(recipe, method="rtn")  # others also scale what layers hand to each other
        key = recipe.precision, recipe.method
        if key not in self._units:
            until = clock.left * (1 - _ON_LAYERS)
            self._progress.stage("sensitivity", base.name)
            lowered = lower_precision(self._model.clone(), recipe, None if base.weights_only else self._samples)
            samples = self._samples or [case.inputs for case in self._reference.cases]
            self._units[key] = sensitivities(
                self._model, lowered, samples, high=base.high, enough=lambda: clock.left < until
            )
        return self._units[key]

    def _trial(self, base: Base, back: tuple[Unit, ...], layers: int) -> Tried:
        recipe = base.mixed([layer for unit in back for layer in unit.layers])
        known = next((one for one in self._tried if one.recipe == recipe), None)
        if known is not None:
            return known
        started = time.perf_counter()
        lowered = lower_precision(self._model.clone(), recipe, self._samples)
        heard = _Heard(Evaluator(lowered.graph, precise=False))
        terms = promised.completed(self._terms, self._signature, recipe.precision)
        verdict = judge(self._reference, heard, terms)
        error = _error(self._reference, heard.answers)
        seconds = time.perf_counter() - started
        promises = tuple(promise for output in verdict.outputs for promise in output.promises)
        tried = Tried(base, recipe, back, layers, promises, excess(verdict, terms.contract), error, seconds)
        self._tried.append(tried)
        held = "kept" if tried.holds else f"{tried.excess:.3g} times as far off as it may be"
        self._progress.stage("try", f"{tried.name}: {held}")
        return tried


class _Heard:
    def __init__(self, answer: Check) -> None:
        self._answer = answer
        self.answers: list[Arrays] = []

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        self.answers.append(found := self._answer(inputs))
        return found


def _error(reference: Reference, answers: Sequence[Arrays]) -> float:
    parts = [relative_error(got, case.oracle) for case, got in zip(reference.cases, answers, strict=False)]
    return math.sqrt(sum(parts) / len(parts)) if parts else 0.0


def _guess(units: Sequence[Unit], at: int, excess: float) -> int:
    """How many have to be put back, told by how far off it is with `at` of them: if squares of errors add up, and the
    contract counts squares."""
    left = [sum(unit.error for unit in units[count:]) for count in range(len(units))]
    allowed = left[at] / excess if excess else math.inf
    return next((count for count, error in enumerate(left) if error <= allowed), len(units))


def _between(low: int, high: int, at: int) -> int:
    return min(max(at, low + 1), high - 1)


def excess(verdict: Verdict, clauses: Sequence[Clause]) -> float:
    """How many times as far off as it may be; up to 1 all is kept."""
    worst = 0.0
    of_text = {clause.text: clause for clause in clauses}
    for output in verdict.outputs:
        found = [_excess(promise, of_text.get(promise.text)) for promise in output.promises]
        worst = max(worst, max(found, default=0.0 if output.passed else math.inf))
    return worst if verdict.passed else max(worst, math.nextafter(1, 2))


def _excess(promise: Promise, clause: Clause | None) -> float:
    if promise.passed:
        return min(1.0, _times(promise.worst, clause))
    return max(math.nextafter(1, 2), _times(promise.worst, clause))


def _times(worst: float, clause: Clause | None) -> float:
    if math.isnan(worst):
        return math.inf
    if clause is None:  # the share of a tolerance
        return worst
    if clause.sign == ">=" and clause.bound < 1:
        return (1 - worst) / (1 - clause.bound)
    if clause.sign == ">=":
        return clause.bound / worst if worst > 0 else math.inf
    if clause.sign == "<=" and clause.bound > 0:
        return worst / clause.bound
    return 0.0 if clause.sign == "" and worst == 1 else math.inf
