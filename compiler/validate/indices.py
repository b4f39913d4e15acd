"""Outputs that are indices by value are judged by the values that they point at.

Where the scores of two candidates differ by no more than rounding, an argmax, a topk or a sort may give either. An
index is right when the oracle's score there is within the budget of an element of the score at the place that the
oracle chose; the unit is that of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler.cases import Case, Scores
from compiler.contracts import Array, Arrays
from compiler.unit import Floats, Unit, epsilon_named, floor_of, unlucky
from compiler.validate.units import Mask
from compiler.verdicts import Element, OutputVerdict

Pair = tuple[Case, Arrays]


@dataclass(frozen=True)
class _Judged:
    """One case: which indices are not PyTorch's, how far off the scores are there, and the share of the budget."""

    case: Case
    got: Array
    differs: Mask
    error: Floats
    used: Floats  # infinite for an index that is no candidate, or stands in its row twice; -1 where it is PyTorch's


def judge_indices(name: str, pairs: Sequence[Pair]) -> OutputVerdict:
    unit = _unit([case.scores[name] for case, _ in pairs])
    judged = [_judge(case, name, answer[name], unit) for case, answer in pairs]
    flips, total = sum(int(one.differs.sum()) for one in judged), sum(one.got.size for one in judged)
    if not flips:
        return OutputVerdict(name, passed=True, used=0.0, error=0.0, budget=0.0, why="exact")
    worst = max(judged, key=lambda one: float(np.max(one.used, initial=-1.0)))
    place = tuple(int(axis) for axis in np.unravel_index(int(np.argmax(worst.used)), worst.used.shape))
    share, error = float(worst.used[place]), float(worst.error[place])
    if share <= 1:
        why = f"{flips} of {total} indices differ; each points at a value that is the same up to rounding"
    elif math.isfinite(error) and math.isinf(share):
        why = "an index stands in its row twice"
    else:
        wrong, of = int(np.sum(worst.used > 1)), worst.used.size
        away = f"{error:.3g}" if math.isfinite(error) else "far more than rounding"
        why = f"{wrong} of {of} indices point at another value; the worst is off by {away}"
    element = Element(place, float(worst.got[place]), float(worst.case.outputs[name][place]))
    budget = float(unit.allowed(np.zeros(())))
    return OutputVerdict(
        name, share <= 1, share, error, budget, why, worst.case.name, element, shares={"element": share}, flips=flips
    )


def _unit(scores: Sequence[Scores]) -> Unit:
    """Of the scores of all cases together."""
    count = sum(one.count for one in scores)
    rms = math.sqrt(sum(one.rms**2 * one.count for one in scores) / max(count, 1))
    scale = math.sqrt(sum(one.scale**2 * one.count for one in scores) / max(count, 1))
    epsilon = epsilon_named(scores[0].dtype)
    if epsilon is None:
        return Unit(0.0, 0.0, 0.0, scale, 1.0)  # whole numbers are equal, or not
    return Unit(max(rms, floor_of(epsilon) * scale), max(one.worst for one in scores), epsilon, scale, unlucky(count))


def _judge(case: Case, name: str, got: Array, unit: Unit) -> _Judged:
    """PyTorch's own index is right without a look at its score."""
    scores, own = case.scores[name], case.outputs[name]
    (have, known), (wanted, _) = _at(scores, got), _at(scores, case.oracle[name])
    with np.errstate(invalid="ignore"):
        apart = np.abs(have - wanted)
    equal = (have == wanted) | (np.isnan(have) & np.isnan(wanted))
    error = np.where(known & equal, 0.0, np.where(known & np.isfinite(apart), apart, np.inf))
    allowed = unit.allowed(np.where(np.isfinite(wanted), wanted, 0.0))
    used = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    used = np.where(_again(scores.row, got) & ~_again(scores.row, own), np.inf, used)
    differs = got != own
    return _Judged(case, got, differs, np.where(differs, error, 0.0), np.where(differs, used, -1.0))


def _at(scores: Scores, index: Array) -> tuple[Floats, Mask]:
    """The score that each index points at, and whether it is known; what is not known is far from what was chosen."""
    if not scores.index.size:
        return np.zeros(index.shape), np.zeros(index.shape, np.bool_)
    # All rows in one sorted line: a row's candidates rise between its borders.
    width = int(max(scores.index.max(), index.max(initial=0))) + 2
    line = np.repeat(np.arange(len(scores.starts) - 1), np.diff(scores.starts)) * width + scores.index
    asked = scores.row.astype(np.int64) * width + np.where(index < 0, width - 1, index)
    at = np.searchsorted(line, asked).clip(0, len(line) - 1)
    return scores.values[at], np.asarray(line[at] == asked)


def _again(row: Array, index: Array) -> Mask:
    """Where an index stands that its row has had before."""
    flat = np.stack([row.reshape(-1), index.reshape(-1).astype(np.int64)])
    _, first = np.unique(flat, axis=1, return_index=True)
    again = np.ones(index.size, np.bool_)
    again[first] = False
    return again.reshape(index.shape)
