"""No row and no channel may be far off, however small its values are beside those of the rest.

A slice of an output is what is left when some of its axes are held fixed: the rows, planes and items of one case
(leading axes fixed), and the columns and channels over all cases (one axis fixed, where its size is the same in every
case). The error of a slice, root mean square, is counted in a unit of its own: PyTorch's error in this very slice, or
the output's unit in proportion to the slice's size, whichever is more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.validate.units import Floats, Mask, Unit, unlucky

PER_SLICE = 8.0  # units of its own that a slice may be off, rms
FEWEST = 16  # elements; of fewer, the budget of each element is all there is
SPREAD = 10  # of which so many must make up the slice's size: one that is zero but for a few tells as little
FINEST = 2.0**-10  # no slice is told from the rest more finely than this part of the output's unit

_COUNTS = np.arange(2.0, 49.0)
_UNLUCKY = np.array([unlucky(count) for count in _COUNTS])


@dataclass(frozen=True)
class Errors:
    """One case, element by element; nothing counts where the answer is no number."""

    case: str
    made: Floats  # what the artifact is off
    own: Floats  # what PyTorch is off
    wanted: Floats
    finite: Mask


@dataclass(frozen=True)
class Slice:
    """The worst one: which, and how much of its budget it uses."""

    place: str
    case: str
    used: float
    rms: float
    in_units: float


@dataclass(frozen=True)
class _Sums:
    """Over the axes that are not held fixed, in units and in the output's size, so that powers stay small."""

    count: Floats
    made: Floats
    own: Floats
    own_fourth: Floats
    wanted: Floats
    wanted_fourth: Floats

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def worst_slice(errors: Sequence[Errors], unit: Unit) -> Slice | None:
    """None where no slice has enough elements."""
    found = [found for sums, case, axes in _families(errors, unit) if (found := _worst(sums, unit, case, axes))]
    return max(found, key=lambda each: each.used, default=None)


def _families(errors: Sequence[Errors], unit: Unit) -> Iterator[tuple[_Sums, str, tuple[int | None, ...]]]:
    """Sums for each slice of a family, and which axes of the output the sums still have."""
    for one in errors:
        rank = one.wanted.ndim
        for fixed in range(1, rank):
            axes = tuple(axis if axis < fixed else None for axis in range(rank))
            yield _sums(one, tuple(range(fixed, rank)), unit), one.case, axes
    shapes = {one.wanted.shape for one in errors}
    rank = errors[0].wanted.ndim
    for axis in range(1, rank):
        if len({shape[axis] for shape in shapes}) == 1:
            others = tuple(other for other in range(rank) if other != axis)
            total = _sums(errors[0], others, unit)
            for one in errors[1:]:
                total += _sums(one, others, unit)
            yield total, "", tuple(other if other == axis else None for other in range(rank))


def _sums(one: Errors, axes: tuple[int, ...], unit: Unit) -> _Sums:
    made, own = (part / (unit.rms or 1.0) for part in (one.made, one.own))
    wanted = one.wanted / (unit.scale or 1.0)
    powers = (made**2, own**2, own**4, wanted**2, wanted**4)
    count = np.sum(one.finite, axis=axes, dtype=np.float64)
    return _Sums(np.asarray(count), *(np.asarray(np.sum(power, axis=axes)) for power in powers))


def _worst(sums: _Sums, unit: Unit, case: str, axes: tuple[int | None, ...]) -> Slice | None:
    judged = (sums.count >= FEWEST) & (_told_by(sums.wanted, sums.wanted_fourth) >= SPREAD)
    if not np.any(judged):
        return None
    count = np.maximum(sums.count, 1.0)
    made, own, in_proportion = (np.sqrt(part / count) for part in (sums.made, sums.own, sums.wanted))
    luck = np.interp(np.minimum(sums.count, _told_by(sums.own, sums.own_fourth)), _COUNTS, _UNLUCKY)
    units = np.maximum(np.maximum(own * luck, in_proportion), FINEST)
    used = np.where(judged, made / (PER_SLICE * units), -1.0)
    index = np.unravel_index(int(np.argmax(used)), used.shape)
    at = iter(index)
    place = ", ".join(":" if axis is None else str(int(next(at))) for axis in axes)
    return Slice(
        f"[{place}]", case, float(used[index]), float(made[index] * unit.rms), float(made[index] / units[index])
    )


def _told_by(squares: Floats, fourths: Floats) -> Floats:
    """How many numbers a sum of squares is made up of: all of them where they are normal, one where one outweighs."""
    return np.asarray(3 * np.divide(squares**2, fourths, out=np.zeros_like(squares), where=fourths > 0) - 2)
