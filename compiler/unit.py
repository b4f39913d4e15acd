"""The unit that an error is counted in, and how much of it rounding may make. docs/parity.md derives the numbers.

Who measures PyTorch's error and who judges an artifact by it must mean the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
else:
    Floats = np.ndarray  # as in contracts.py

# An honest float32 runtime was measured at 0.1 to 3 units rms over ten models, a hidden bfloat16 at 4,500 and up.
PER_ELEMENT = 32.0  # units that one element may be off
OF_WORST = 4.0  # or this many times what PyTorch's own worst element is off
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
_CHANCE = 6.0  # errors of so many seem alike by chance, one time in a hundred; one does in the mean

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_COMPLEX = {"complex64": "float32", "complex128": "float64"}


@dataclass(frozen=True)
class Unit:
    """What an error of one output is counted in."""

    rms: float
    worst: float
    epsilon: float
    scale: float  # the output's own size, rms
    unlucky: float  # by how much rms and worst may be too small, because few errors of their own told them

    @property
    def weak(self) -> bool:
        """So wide that it proves little."""
        return self.rms > min(WEAK_ULPS * self.epsilon, WEAK_SHARE) * self.scale

    def allowed(self, oracle: Floats) -> Floats:
        """The error that each element may have."""
        element = self.unlucky * max(PER_ELEMENT * self.rms, OF_WORST * self.worst)
        return np.asarray(element + ELEMENT_ULPS * self.epsilon * np.abs(oracle))


def epsilon_named(dtype: str) -> float | None:
    """The rounding of a type; None where nothing is rounded."""
    return _EPSILON.get(_COMPLEX.get(dtype, dtype))


def is_complex(dtype: str) -> bool:
    return dtype in _COMPLEX


def floor_of(epsilon: float) -> float:
    """The smallest unit, as a share of the output's scale."""
    return (UNIT_ULPS_FLOAT64 if epsilon == _EPSILON["float64"] else UNIT_ULPS) * epsilon


def unlucky(count: float) -> float:
    """How many times larger the true rms may be than one that was measured on so many elements.

    The measured square is distributed as chi-squared; what is taken of its lower tail is the leading term, which
    errs on the wide side. 158 for two elements, 26 for three, 2.8 for eight; nothing is added from 48 on. A single
    element gets no more than two: it would prove nothing.
    """
    count = max(count, 2)
    tail = 2 * math.exp((math.log(LUCK) + math.lgamma(count / 2 + 1)) / (count / 2))
    return float(max(1.0, (count / tail) ** 0.5 / SLACK))


# -- errors that are alike ------------------------------------------------------------------------------------------


def alike(error: Floats, wanted: Floats, axes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Of the squared errors along these axes: what is the same share of every element, and what the same amount.

    A row that is divided by a sum is off by one share everywhere, and one that a sum is added to by one amount.
    """
    size, count = np.sum(wanted**2, axis=axes), np.sum((error != 0) | (wanted != 0), axis=axes)
    return _along(np.sum(error * wanted, axis=axes), size), _along(np.sum(error, axis=axes), count)


def _along(projected: Floats, squared: Floats) -> Floats:
    """The square of what lies in one direction; divided first, so that large numbers stay in range."""
    length = np.sqrt(np.asarray(squared, np.float64))
    return np.square(np.divide(projected, length, out=np.zeros_like(length), where=length > 0))


def part_alike(count: float, squares: float, parts: Iterable[float]) -> float:
    """Of the squares of so many errors, the larger of the two parts, less what chance makes of few."""
    return max(0.0, max(parts) / squares - _CHANCE / count) if count and squares else 0.0


def independent(count: float, places: int, part: float) -> float:
    """As how many errors by themselves so many count, in so many places, if in each this part of them is alike.

    The sum of squares in a place varies as that of so many independent errors does.
    """
    return min(count, places / (part**2 + (1 - part) ** 2 * places / count)) if count else 0.0
