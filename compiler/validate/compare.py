"""Are two sets of outputs the same, up to rounding?

Every float output is held against the float64 oracle, element by element. The unit of error is PyTorch's own:
the root mean square of its difference to the oracle, pooled over all elements of an output and over all cases,
with a floor of a few roundings at the output's scale. A runtime that orders its sums differently is off by a
small multiple of that unit; one that computes in a lower precision, or something else, by thousands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from compiler.contracts import Array, Arrays, Case, Element, OutputVerdict, Verdict, dtype_name

# An honest float32 runtime was measured at 0.1 to 3 units rms over ten models, a hidden bfloat16 at 4,500 and up.
PER_ELEMENT = 32.0  # units that one element may be off
OF_WORST = 4.0  # or this many times what PyTorch's own worst element is off
POOLED = 8.0  # units that all elements together may be off, rms
UNIT_ULPS = 0.25  # the unit is never below this part of a rounding at the output's scale
# The oracle of a float64 model rounds as the model does, so their difference says nothing about the model's error.
# Sums of 4,096 terms in another order were measured at 5 roundings rms; a hidden float32 is off by 10^8.
UNIT_ULPS_FLOAT64 = 8.0
WEAK_ULPS = 4096.0  # roundings, relative to the output, above which the model's own error makes a verdict weak
WEAK_SHARE = 0.25  # or this share of the output, for types whose roundings are large
ELEMENT_ULPS = 2.0  # roundings at its own scale that every element may have on top
# The unit of a few elements may be small by luck. It is taken to be at most as lucky as this: in how many cases an
# honest answer may be refused for it. What the limits above leave free covers an unluck of SLACK.
LUCK = 1e-5
SLACK = 2.0

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_COMPLEX = {"complex64": "float32", "complex128": "float64"}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """What an error of one output is counted in."""

    rms: float
    worst: float
    epsilon: float
    scale: float  # the output's own size, rms
    unlucky: float  # by how much rms and worst may be too small, because few elements told them

    def allowed(self, oracle: Floats) -> Floats:
        """The error that each element may have."""
        element = self.unlucky * max(PER_ELEMENT * self.rms, OF_WORST * self.worst)
        return np.asarray(element + ELEMENT_ULPS * self.epsilon * np.abs(oracle))


def compare(cases: Sequence[Case], answers: Iterable[Arrays], measured: Mapping[str, Unit] | None = None) -> Verdict:
    """Hold one answer per case against the reference; in units measured before, where the cases are a sample."""
    got = list(answers)
    names = list(cases[0].outputs) if cases else []
    known = units(cases) if measured is None else measured
    verdicts = [_judge_output(name, cases, got, known.get(name)) for name in names]
    verdicts += [_failure(name, "", "the model has no such output") for name in sorted(_unexpected(names, got))]
    passed = all(verdict.passed for verdict in verdicts)
    notes = tuple(note for name, unit in known.items() for note in _weakness(name, unit))
    return Verdict("passed" if passed else "failed", tuple(verdicts), len(cases), notes)


def units(cases: Sequence[Case]) -> dict[str, Unit]:
    """What errors are counted in, for each output that is not held to be exact."""
    found = {}
    for name, array in (cases[0].outputs if cases else {}).items():
        kind = dtype_name(array.dtype)
        parts = _as_real(name, cases) if kind in _COMPLEX else cases
        if (epsilon := _EPSILON.get(_COMPLEX.get(kind, kind))) is not None:
            found[name] = _unit(name, parts, epsilon)
    return found


def _weakness(name: str, unit: Unit) -> list[str]:
    """A model that loses its own precision gives a wide unit, and a wide unit proves little: that must be said."""
    limit = min(WEAK_ULPS * unit.epsilon, WEAK_SHARE)
    if unit.rms <= limit * unit.scale:
        return []
    share = unit.rms / unit.scale if unit.scale else float("inf")
    return [f"'{name}': the model's own rounding is {share:.1%} of the output, so this verdict is a weak one"]


def _unexpected(names: Sequence[str], got: Sequence[Arrays]) -> set[str]:
    return {name for arrays in got for name in arrays if name not in names}


def _failure(name: str, case: str, why: str) -> OutputVerdict:
    return OutputVerdict(name, passed=False, used=float("inf"), error=float("inf"), budget=0.0, why=why, case=case)


def _judge_output(name: str, cases: Sequence[Case], got: Sequence[Arrays], unit: Unit | None) -> OutputVerdict:
    for case, arrays in zip(cases, got, strict=True):
        if name not in arrays:
            return _failure(name, case.name, "the output is missing")
        have, want = arrays[name], case.outputs[name]
        if dtype_name(have.dtype) != dtype_name(want.dtype):
            return _failure(name, case.name, f"its dtype is {dtype_name(have.dtype)}, not {dtype_name(want.dtype)}")
        if have.shape != want.shape:
            return _failure(name, case.name, f"its shape is {have.shape}, not {want.shape}")
    kind = dtype_name(cases[0].outputs[name].dtype)
    if kind in _COMPLEX:
        cases, got = _as_real(name, cases), [{name: _real(arrays[name])} for arrays in got]
    return _judge_exact(name, cases, got) if unit is None else _judge_floats(name, cases, got, unit)


def _as_real(name: str, cases: Sequence[Case]) -> list[Case]:
    return [
        Case(case.name, case.sizes, {}, {name: _real(case.outputs[name])}, {name: _real(case.oracle[name])})
        for case in cases
    ]


def _real(array: Array) -> Array:
    return np.stack([array.real, array.imag], axis=-1)


def _judge_exact(name: str, cases: Sequence[Case], got: Sequence[Arrays]) -> OutputVerdict:
    for case, arrays in zip(cases, got, strict=True):
        have, want = arrays[name], case.outputs[name]
        wrong = have != want
        if np.any(wrong):
            index = _first(wrong)
            worst = Element(index, _number(have[index]), _number(want[index]))
            why = f"{int(np.sum(wrong))} of {have.size} elements differ; they must be exact"
            return OutputVerdict(name, False, float("inf"), abs(worst.got - worst.want), 0.0, why, case.name, worst)
    return OutputVerdict(name, passed=True, used=0.0, error=0.0, budget=0.0, why="exact")


def _judge_floats(name: str, cases: Sequence[Case], got: Sequence[Arrays], unit: Unit) -> OutputVerdict:
    worst: OutputVerdict | None = None
    squares, count = 0.0, 0
    for case, arrays in zip(cases, got, strict=True):
        have = arrays[name].astype(np.float64)
        torch, oracle = case.outputs[name].astype(np.float64), case.oracle[name].astype(np.float64)
        if special := _special_values(name, case.name, have, torch, oracle):
            return special
        finite = np.isfinite(torch) & np.isfinite(oracle)
        error = np.where(finite, np.abs(np.where(finite, have, 0.0) - np.where(finite, oracle, 0.0)), 0.0)
        squares, count = squares + float(np.sum(error**2)), count + int(np.sum(finite))
        element = _worst_element(name, case.name, have, oracle, error, unit)
        if element is not None and (worst is None or element.used > worst.used):
            worst = element
    if worst is None:
        return OutputVerdict(name, passed=True, used=0.0, error=0.0, budget=0.0, why="no finite elements to compare")
    rms = (squares / max(count, 1)) ** 0.5
    in_units = rms / unit.rms if unit.rms else math.inf if rms else 0.0
    budget = POOLED * unit.unlucky * unit.rms
    if rms > budget and worst.passed:
        why = f"all elements together are off by {rms:.3g} rms, {in_units:.1f} times the model's own rounding"
        return replace(worst, passed=False, used=rms / budget if budget else math.inf, why=why, rms=in_units)
    return replace(worst, rms=in_units)


def _unlucky(count: int) -> float:
    """How many times larger the true rms may be than one that was measured on so many elements.

    The measured square is distributed as chi-squared; what is taken of its lower tail is the leading term, which
    errs on the wide side. 158 for two elements, 26 for three, 2.8 for eight; nothing is added from 48 on. A single
    element gets no more than two: it would prove nothing.
    """
    count = max(count, 2)
    tail = 2 * math.exp((math.log(LUCK) + math.lgamma(count / 2 + 1)) / (count / 2))
    return float(max(1.0, (count / tail) ** 0.5 / SLACK))


def _unit(name: str, cases: Sequence[Case], epsilon: float) -> Unit:
    squares = scale = worst = 0.0
    count = 0
    for case in cases:
        torch, oracle = case.outputs[name].astype(np.float64), case.oracle[name].astype(np.float64)
        finite = np.isfinite(torch) & np.isfinite(oracle)
        error = np.abs(torch[finite] - oracle[finite])
        squares += float(np.sum(error**2))
        scale += float(np.sum(oracle[finite] ** 2))
        worst = max(worst, float(np.max(error, initial=0.0)))
        count += error.size
    rms = (squares / max(count, 1)) ** 0.5
    ulps = UNIT_ULPS_FLOAT64 if epsilon == _EPSILON["float64"] else UNIT_ULPS
    size = (scale / max(count, 1)) ** 0.5
    return Unit(max(rms, ulps * epsilon * size), worst, epsilon, size, _unlucky(count))


def _special_values(name: str, case: str, have: Floats, torch: Floats, oracle: Floats) -> OutputVerdict | None:
    """NaN and infinities must stand where PyTorch has them."""
    for wrong, why in (
        (np.isnan(have) & ~np.isnan(torch), "NaN where PyTorch has a number"),
        (~np.isnan(have) & np.isnan(torch), "a number where PyTorch has NaN"),
        (np.isinf(have) & np.isfinite(torch), "infinity where PyTorch has a number"),
        (np.isinf(torch) & (have != torch), "not the infinity that PyTorch has"),
    ):
        if np.any(wrong):
            index = _first(wrong)
            element = Element(index, float(have[index]), float(torch[index]))
            return OutputVerdict(
                name, False, float("inf"), float("inf"), 0.0, f"{why}, {int(np.sum(wrong))} times", case, element
            )
    return None


def _worst_element(
    name: str, case: str, have: Floats, oracle: Floats, error: Floats, unit: Unit
) -> OutputVerdict | None:
    if error.size == 0:
        return None
    allowed = unit.allowed(np.where(np.isfinite(oracle), oracle, 0.0))
    # An output whose unit is zero (all zeros, say) allows nothing: any error then uses it up without bound.
    used = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    index = np.unravel_index(int(np.argmax(used)), used.shape)
    place = tuple(int(axis) for axis in index)
    share, off = float(used[place]), float(error[place])
    in_units = off / unit.rms if unit.rms else 0.0
    why = f"off by {off:.3g}, {in_units:.3g} times the model's own rounding"
    element = Element(place, float(have[place]), float(oracle[place]))
    return OutputVerdict(name, share <= 1.0, share, off, float(allowed[place]), why, case, element)


def _first(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.unravel_index(int(np.argmax(mask)), mask.shape))


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")  # a string: the message carries it, the number does not
