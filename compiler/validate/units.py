"""What an error is counted in: PyTorch's own, measured against the float64 oracle.

The unit of an output is the root mean square of PyTorch's error over all of its elements, in all cases with the same
kind of data, with a floor of a part of a rounding at the output's scale. docs/parity.md derives it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compiler.contracts import ORDINARY, Array, Case, dtype_name

# An honest float32 runtime was measured at 0.1 to 3 units rms over ten models, a hidden bfloat16 at 4,500 and up.
PER_ELEMENT = 32.0  # units that one element may be off
OF_WORST = 4.0  # or this many times what PyTorch's own worst element is off
UNIT_ULPS = 0.25  # the unit is never below this part of a rounding at the output's scale
# The oracle of a float64 model rounds as the model does, so their difference says nothing about the model's error.
# Sums of 4,096 terms in another order were measured at 5 roundings rms; a hidden float32 is off by 10^8.
UNIT_ULPS_FLOAT64 = 8.0
WEAK_ULPS = 4096.0  # roundings, relative to the output, above which the model's own error makes a verdict weak
LOST = 32.0  # times what it is on ordinary data, above which other data proves nothing; sound data is below 3
WEAK_SHARE = 0.25  # or this share of the output, for types whose roundings are large
ELEMENT_ULPS = 2.0  # roundings at its own scale that every element may have on top
# The unit of a few elements may be small by luck. It is taken to be at most as lucky as this: in how many cases an
# honest answer may be refused for it. What the limits above leave free covers an unluck of SLACK.
LUCK = 1e-5
SLACK = 2.0

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_COMPLEX = {"complex64": "float32", "complex128": "float64"}

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Unit:
    """What an error of one output is counted in."""

    rms: float
    worst: float
    epsilon: float
    scale: float  # the output's own size, rms
    unlucky: float  # by how much rms and worst may be too small, because few elements told them

    @property
    def weak(self) -> bool:
        """So wide that it proves little."""
        return self.rms > min(WEAK_ULPS * self.epsilon, WEAK_SHARE) * self.scale

    def allowed(self, oracle: Floats) -> Floats:
        """The error that each element may have."""
        element = self.unlucky * max(PER_ELEMENT * self.rms, OF_WORST * self.worst)
        return np.asarray(element + ELEMENT_ULPS * self.epsilon * np.abs(oracle))


Units = Mapping[str, Mapping[str, Unit]]  # kind of data -> output -> unit; outputs that must be exact have none


def units(cases: Sequence[Case]) -> Units:
    """Each kind of data has its own: the errors of large values would hide those of tiny ones."""
    return {kind: _units(of_kind(cases, kind)) for kind in kinds(cases)}


def kinds(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(case.kind for case in cases))


def of_kind(cases: Sequence[Case], kind: str) -> list[Case]:
    return [case for case in cases if case.kind == kind]


def _units(cases: Sequence[Case]) -> dict[str, Unit]:
    found = {}
    for name, array in cases[0].outputs.items():
        if (epsilon := epsilon_of(array)) is not None:
            found[name] = unit_of((own_error(case, name) for case in cases), epsilon)
    return found


def own_error(case: Case, name: str) -> tuple[Floats, Floats, Mask]:
    """Element by element: how far off honest arithmetic is, what it should be, and where both are numbers.

    On data at the edge of a model's range PyTorch may hit the very answer by accident, where all is equal or rounds to
    zero. There the error counts as well that a rounding of the inputs makes.
    """
    torch, oracle = real(case.outputs[name]), real(case.oracle[name])
    finite = np.isfinite(torch.astype(np.float64)) & np.isfinite(oracle)
    wanted = np.where(finite, oracle, 0.0).astype(np.float64, copy=False)
    error = np.where(finite, torch, 0.0).astype(np.float64, copy=False)
    np.abs(np.subtract(error, wanted, out=error), out=error)
    if case.shaken is not None:
        shaken = real(case.shaken[name]).astype(np.float64)
        error = np.maximum(error, np.where(finite & np.isfinite(shaken), np.abs(shaken - wanted), 0.0))
    return error, wanted, finite


def epsilon_of(array: Array) -> float | None:
    """The rounding of its type; None where nothing is rounded."""
    return epsilon_named(dtype_name(array.dtype))


def epsilon_named(dtype: str) -> float | None:
    return _EPSILON.get(_COMPLEX.get(dtype, dtype))


def floor_of(epsilon: float) -> float:
    """The smallest unit, as a share of the output's scale."""
    return (UNIT_ULPS_FLOAT64 if epsilon == _EPSILON["float64"] else UNIT_ULPS) * epsilon


def real(array: Array) -> Array:
    """Complex numbers as pairs."""
    return np.stack([array.real, array.imag], axis=-1) if dtype_name(array.dtype) in _COMPLEX else array


def unit_of(errors: Iterable[tuple[Floats, Floats, Mask]], epsilon: float) -> Unit:
    """From the errors of each case, what was wanted there, and which elements count; of one case at a time."""
    count = telling = 0
    worst = squares = size = 0.0
    for error, wanted, finite in errors:
        count += int(np.sum(finite))
        telling += int(np.sum((error != 0) | (wanted != 0)))  # a zero that came out as zero tells nothing
        worst = max(worst, float(np.max(error, initial=0.0)))
        squares += float(np.sum(error**2))
        size += float(np.sum(wanted**2))
    rms, scale = (squares / max(count, 1)) ** 0.5, (size / max(count, 1)) ** 0.5
    return Unit(max(rms, floor_of(epsilon) * scale), worst, epsilon, scale, unlucky(telling))


def unlucky(count: float) -> float:
    """How many times larger the true rms may be than one that was measured on so many elements.

    The measured square is distributed as chi-squared; what is taken of its lower tail is the leading term, which
    errs on the wide side. 158 for two elements, 26 for three, 2.8 for eight; nothing is added from 48 on. A single
    element gets no more than two: it would prove nothing.
    """
    count = max(count, 2)
    tail = 2 * math.exp((math.log(LUCK) + math.lgamma(count / 2 + 1)) / (count / 2))
    return float(max(1.0, (count / tail) ** 0.5 / SLACK))


def proves_nothing(name: str, kind: str, known: Units) -> bool:
    """Data on which PyTorch itself loses its precision: which of two honest answers is nearer is luck."""
    unit, usual = known[kind].get(name), known.get(ORDINARY, {}).get(name)
    if kind == ORDINARY or unit is None:
        return False
    lost = usual is not None and unit.rms * usual.scale > LOST * usual.rms * unit.scale
    return unit.weak or lost


def weakness(name: str, kind: str, known: Units) -> list[str]:
    """A model that loses its own precision gives a wide unit, and a wide unit proves little: that must be said."""
    unit = known[kind][name]
    share = unit.rms / unit.scale if unit.scale else float("inf")
    if proves_nothing(name, kind, known):
        return [
            f"'{name}': on {kind} data the model's own rounding is {share:.1g} of the output; it is not judged there"
        ]
    if not unit.weak:
        return []
    return [f"'{name}': the model's own rounding is {share:.1%} of the output, so this verdict is a weak one"]
