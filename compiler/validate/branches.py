"""Where the model decides within rounding of another choice, an artifact may take the other one.

What follows is another number altogether, and no fault. So a case that fails is judged again by what the model computes
with the other choice, of one decision after the other: one is taken that brings the answer nearer. Every case must fit
in the end, to rounding, as if the model had decided so by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.cases import Branch, Case, Decision, Otherwise
from compiler.contracts import Array, Arrays
from compiler.unit import Unit
from compiler.validate.compare import compare
from compiler.validate.units import Units, epsilon_of, real
from compiler.verdicts import OutputVerdict, Terms, Verdict

MOST = 16  # decisions that are tried in one case
PATIENCE = 120.0  # seconds for all of them, in all cases

_WRONG = 1e6  # what a whole number that differs counts, in squared units


@dataclass(frozen=True)
class Judged:
    """A verdict, and the cases with the branches that it rests on."""

    verdict: Verdict
    cases: tuple[Case, ...]


def judge_cases(
    cases: Sequence[Case], answers: Sequence[Arrays], measured: Units, terms: Terms, otherwise: Otherwise | None
) -> Judged:
    first = compare(cases, answers, measured, terms)
    if first.passed or otherwise is None or not any(case.close for case in cases):
        return Judged(first, tuple(cases))
    settled, ends = [], time.monotonic() + PATIENCE
    for case, answer in zip(cases, answers, strict=True):
        search = _Search(case, answer, measured, terms, otherwise)
        found = search.settled(ends)
        if found is None:
            return Judged(replace(first, notes=(*first.notes, *_in_vain(search))), tuple(cases))
        settled.append(found)
    again = compare([one.case for one in settled], answers, measured, terms)
    if not again.passed:
        return Judged(first, tuple(cases))
    count = sum(len(one.taken) for one in settled)
    outputs = tuple(_counted(old, new, count) for old, new in zip(first.outputs, again.outputs, strict=True))
    notes = (*again.notes, *(told(one.case.name, one.taken) for one in settled if one.taken))
    with_branches = tuple(replace(case, branches=one.branches) for case, one in zip(cases, settled, strict=True))
    return Judged(replace(again, outputs=outputs, notes=notes), with_branches)


def kept(case: Case, taken: tuple[Decision, ...]) -> Branch | None:
    """What a bundle kept of what was asked for when it was made."""
    return next((branch for branch in case.branches if set(branch.taken) == set(taken)), None)


@dataclass(frozen=True)
class _Settled:
    case: Case  # as it would be, had the model decided so
    taken: tuple[Decision, ...] = ()
    branches: tuple[Branch, ...] = ()


class _Search:
    """For one case, from one branch to a nearer one."""

    def __init__(self, case: Case, answer: Arrays, measured: Units, terms: Terms, otherwise: Otherwise) -> None:
        self._case = case
        self._answer = answer
        self._measured = measured
        self._fits: Callable[[Case], bool] = lambda one: compare([one], [answer], measured, terms).passed
        self._otherwise = otherwise
        self.tried = 0
        self.unknown = 0  # that could not be asked for
        self.name = case.name
        self.unlisted = case.unlisted

    def settled(self, ends: float) -> _Settled | None:
        """None where no choice explains the answer."""
        if self._fits(self._case):
            return _Settled(self._case)
        best, nearest = _Settled(self._case), self._distance(self._case)
        waiting, seen = list(self._case.close), set(self._case.close)
        while waiting and self.tried < MOST and time.monotonic() < ends:
            decision = waiting.pop(0)
            self.tried += 1
            taken = (*best.taken, decision)
            branch = self._otherwise(self._case, taken)
            if branch is None:
                self.unknown += 1
                continue
            case = replace(self._case, outputs=branch.outputs, oracle=branch.oracle, shaken=None)
            distance = self._distance(case)
            if distance >= nearest:
                continue
            best, nearest = _Settled(case, taken, (*best.branches, branch)), distance
            if self._fits(case):
                return best
            # What comes after it may now be near a boundary that it was not near before.
            new = [one for one in branch.close if one not in seen and (one.site, one.row) != _place(decision)]
            waiting, seen = new + waiting, seen | set(new)
        return None

    def _distance(self, case: Case) -> float:
        """How far off the answer is, in squared units."""
        units = self._measured.get(case.kind, {})
        return sum(
            _off(self._answer[name], case.outputs[name], case.oracle[name], units.get(name))
            for name in case.outputs
            if name in self._answer and self._answer[name].shape == case.outputs[name].shape
        )


def _place(decision: Decision) -> tuple[str, int]:
    return decision.site, decision.row


def _off(have: Array, torch: Array, oracle: Array, unit: Unit | None) -> float:
    if unit is None or epsilon_of(torch) is None:
        return _WRONG * float(np.sum(have != torch))
    got, want = real(have).astype(np.float64), real(oracle).astype(np.float64)
    finite = np.isfinite(got) & np.isfinite(want)
    special = (np.isnan(got) != np.isnan(want)) | (np.isinf(got) != np.isinf(want))
    scale = unit.rms or 1.0
    error = np.where(finite, got, 0.0) - np.where(finite, want, 0.0)
    return float(np.sum((error / scale) ** 2)) + _WRONG * float(np.sum(special))


def _counted(old: OutputVerdict, new: OutputVerdict, count: int) -> OutputVerdict:
    return new if old.passed else replace(new, flips=new.flips + count, why=f"{new.why}; {_decisions(count)} otherwise")


def _decisions(count: int) -> str:
    return "a near decision is taken" if count == 1 else f"{count} near decisions are taken"


def told(where: str, taken: Sequence[Decision]) -> str:
    places = ", ".join(dict.fromkeys(map(str, taken)))
    what = "1 decision" if len(taken) == 1 else f"{len(taken)} decisions"
    return (
        f"{where}: {what} ({places}) within rounding of another choice, which the artifact takes; "
        "what follows is judged by what the model computes then"
    )


def _in_vain(search: _Search) -> list[str]:
    if not search.tried:
        return []
    more = f" of {search.tried + search.unlisted}" if search.unlisted else ""
    if search.unknown:
        return [
            f"{search.name}: {search.unknown} decisions are within rounding of another choice, and what the model "
            "computes then is not in the bundle; to tell a fault from such a decision, compile it again"
        ]
    tried = "1 decision is" if search.tried == 1 and not more else f"{search.tried}{more} decisions are"
    return [f"{search.name}: {tried} within rounding of another choice; that does not explain the difference"]
