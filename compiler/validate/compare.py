"""Are two sets of outputs the same, up to rounding?

Every float output is held against the float64 oracle, element by element. The unit of error is PyTorch's own
(`units.py`). A runtime that orders its sums differently is off by a small multiple of that unit; one that computes in
a lower precision, or something else, by thousands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from compiler.cases import Case
from compiler.contracts import Array, Arrays, dtype_name
from compiler.unit import Unit
from compiler.validate import contract
from compiler.validate.indices import judge_indices
from compiler.validate.slices import Errors, Slice, Slices
from compiler.validate.units import Units, epsilon_of, kinds, own_error, proves_nothing, real, units, weakness
from compiler.verdicts import NO_TERMS, Element, OutputVerdict, Terms, Verdict

POOLED = 8.0  # units that all elements together may be off, rms

NO_NUMBERS = "no finite elements to compare"

Pair = tuple[Case, Arrays]  # a case, and what was answered to it


def compare(
    cases: Sequence[Case], answers: Iterable[Arrays], measured: Units | None = None, terms: Terms = NO_TERMS
) -> Verdict:
    """Hold one answer per case against the reference; in units measured before, where the cases are a sample."""
    pairs = list(zip(cases, answers, strict=True))
    known = units(cases) if measured is None else measured
    names = list(cases[0].outputs) if cases else []
    verdicts = [_judge_output(name, pairs, known, terms) for name in names]
    verdicts += [_failure(name, "", "the model has no such output") for name in sorted(_unexpected(names, pairs))]
    passed = all(verdict.passed for verdict in verdicts)
    weak = (note for kind, table in known.items() for name in table for note in weakness(name, kind, known))
    notes = (*contract.notes(verdicts), *weak, *_without_numbers(verdicts, cases))
    return Verdict("passed" if passed else "failed", tuple(verdicts), len(cases), notes)


def _without_numbers(verdicts: Sequence[OutputVerdict], cases: Sequence[Case]) -> Iterator[str]:
    """That both have NaN and infinities at the same places is no proof of anything."""
    for verdict in verdicts:
        if verdict.why == NO_NUMBERS and any(case.outputs[verdict.output].size for case in cases):
            yield f"'{verdict.output}': PyTorch itself gives no finite number for it, so this verdict proves nothing"


def _unexpected(names: Sequence[str], pairs: Sequence[Pair]) -> set[str]:
    return {name for _, answer in pairs for name in answer if name not in names}


def _failure(name: str, case: str, why: str) -> OutputVerdict:
    return OutputVerdict(name, passed=False, used=float("inf"), error=float("inf"), budget=0.0, why=why, case=case)


def _judge_output(name: str, pairs: Sequence[Pair], known: Units, terms: Terms) -> OutputVerdict:
    """What is no number, or not there at all, fails whatever was asked for."""
    if (failure := _other_kind_of_thing(name, pairs) or _special_values(name, pairs)) is not None:
        return failure
    verdicts = [
        _judge_kind(name, [pair for pair in pairs if pair[0].kind == kind], known[kind].get(name))
        for kind in kinds([case for case, _ in pairs])
        if not proves_nothing(name, kind, known)
    ]
    if not verdicts:  # a case by itself, of data that proves nothing
        return OutputVerdict(name, passed=True, used=0.0, error=0.0, budget=0.0, why="nothing that could be judged")
    worst = max(verdicts, key=lambda verdict: (not verdict.passed, verdict.used))
    return contract.held_to(terms, replace(worst, rms=max(verdict.rms for verdict in verdicts)), pairs)


def _other_kind_of_thing(name: str, pairs: Sequence[Pair]) -> OutputVerdict | None:
    for case, answer in pairs:
        if name not in answer:
            return _failure(name, case.name, "the output is missing")
        have, want = answer[name], case.outputs[name]
        if dtype_name(have.dtype) != dtype_name(want.dtype):
            return _failure(name, case.name, f"its dtype is {dtype_name(have.dtype)}, not {dtype_name(want.dtype)}")
        if have.shape != want.shape:
            return _failure(name, case.name, f"its shape is {have.shape}, not {want.shape}")
    return None


def _judge_kind(name: str, pairs: Sequence[Pair], unit: Unit | None) -> OutputVerdict:
    if unit is not None:
        return _judge_floats(name, pairs, unit)
    by_value = all(name in case.scores for case, _ in pairs)
    return judge_indices(name, pairs) if by_value else _judge_exact(name, pairs)


def _judge_exact(name: str, pairs: Sequence[Pair]) -> OutputVerdict:
    for case, answer in pairs:
        have, want = answer[name], case.outputs[name]
        wrong = have != want
        if np.any(wrong):
            index = _first(wrong)
            worst = Element(index, _number(have[index]), _number(want[index]))
            why = f"{int(np.sum(wrong))} of {have.size} elements differ; they must be exact"
            return OutputVerdict(name, False, float("inf"), abs(worst.got - worst.want), 0.0, why, case.name, worst)
    return OutputVerdict(name, passed=True, used=0.0, error=0.0, budget=0.0, why="exact")


def _judge_floats(name: str, pairs: Sequence[Pair], unit: Unit) -> OutputVerdict:
    """One case after the other: what is computed on the way is several times as large as the outputs."""
    element: OutputVerdict | None = None
    squares, count, slices = 0.0, 0, Slices(unit)
    for case, answer in pairs:
        one = _errors(name, case, answer)
        if not np.any(one.finite):
            continue
        found = _worst_element(name, one, real(answer[name]), unit)
        element = found if element is None or found.used > element.used else element
        squares, count = squares + float(np.sum(one.made**2)), count + int(np.sum(one.finite))
        slices.add(one)
    if element is None:
        return OutputVerdict(name, passed=True, used=0.0, error=0.0, budget=0.0, why=NO_NUMBERS)
    return _together(element, (squares / max(count, 1)) ** 0.5, slices.worst(), unit)


def _together(element: OutputVerdict, rms: float, worst: Slice | None, unit: Unit) -> OutputVerdict:
    """The worst element is what is shown, unless only a slice or the whole is over its budget."""
    in_units = rms / unit.rms if unit.rms else math.inf if rms else 0.0
    budget = POOLED * unit.unlucky * unit.rms
    shares = {"element": element.used, "whole": rms / budget if budget else math.inf if rms else 0.0}
    if worst is not None:
        shares["row"] = worst.used
    used = max(shares.values())
    verdict = replace(element, passed=used <= 1, used=used, rms=in_units, shares=shares)
    if element.used > 1 or used <= 1:
        return verdict
    if shares["whole"] > 1:
        why = f"all elements together are off by {rms:.3g} rms, {in_units:.1f} times the model's own rounding"
        return replace(verdict, why=why)
    assert worst is not None
    why = f"{worst.place} is off by {worst.rms:.3g} rms, {worst.in_units:.3g} times what rounding does there"
    return replace(verdict, why=why, case=worst.case)


def _errors(name: str, case: Case, answer: Arrays) -> Errors:
    own, wanted, finite = own_error(case, name)
    made = np.abs(np.where(finite, real(answer[name]).astype(np.float64), 0.0) - wanted)
    return Errors(case.name, made, own, wanted, finite)


def _special_values(name: str, pairs: Sequence[Pair]) -> OutputVerdict | None:
    """NaN and infinities must stand where PyTorch has them."""
    if epsilon_of(pairs[0][0].outputs[name]) is None:
        return None
    for case, answer in pairs:
        have, torch = real(answer[name]).astype(np.float64), real(case.outputs[name]).astype(np.float64)
        for wrong, why in (
            (np.isnan(have) & ~np.isnan(torch), "NaN where PyTorch has a number"),
            (~np.isnan(have) & np.isnan(torch), "a number where PyTorch has NaN"),
            (np.isinf(have) & np.isfinite(torch), "infinity where PyTorch has a number"),
            (np.isinf(torch) & (have != torch), "not the infinity that PyTorch has"),
        ):
            if np.any(wrong):
                index = _first(wrong)
                worst = Element(index, float(have[index]), float(torch[index]))
                why = f"{why}, {int(np.sum(wrong))} times"
                return replace(_failure(name, case.name, why), worst=worst)
    return None


def _worst_element(name: str, one: Errors, have: Array, unit: Unit) -> OutputVerdict:
    allowed = unit.allowed(one.wanted)
    # An output whose unit is zero (all zeros, say) allows nothing: any error then uses it up without bound.
    used = np.divide(one.made, allowed, out=np.where(one.made > 0, np.inf, 0.0), where=allowed > 0)
    index = np.unravel_index(int(np.argmax(used)), used.shape)
    place = tuple(int(axis) for axis in index)
    share, off = float(used[place]), float(one.made[place])
    in_units = off / unit.rms if unit.rms else 0.0
    why = f"off by {off:.3g}, {in_units:.3g} times the model's own rounding"
    element = Element(place, float(have[place]), float(one.wanted[place]))
    return OutputVerdict(name, share <= 1.0, share, off, float(allowed[place]), why, one.case, element)


def _first(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.unravel_index(int(np.argmax(mask)), mask.shape))


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")  # a string: the message carries it, the number does not
