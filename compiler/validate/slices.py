"""No row and no channel may be far off, however small its values are beside those of the rest.

A slice of an output is what is left when some of its axes are held fixed: the rows, planes and items of one case
(leading axes fixed), and the columns and channels over all cases (one axis fixed, where its size is the same in every
case). The error of a slice, root mean square, is counted in a unit of its own: PyTorch's error in this very slice, or
the output's unit in proportion to the slice's size, whichever is more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler.unit import PER_ELEMENT, Floats, Unit, alike, part_alike, unlucky
from compiler.validate.units import Mask

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
    own: Floats  # what PyTorch is off, with its sign
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

    cases: int
    count: Floats
    made: Floats
    own: Floats
    own_fourth: Floats
    wanted: Floats
    wanted_fourth: Floats
    shared: Floats  # of the squares of `own`: what is the same share of every element
    moved: Floats  # and what is the same amount

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Slices:
    """Takes one case after the other, and keeps no more of them than sums."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._columns: dict[int, _Sums] | None = None  # axis -> over all cases, where it has the same size in all
        self._rows: dict[int, list[tuple[str, _Sums]]] = {}  # how many leading axes are fixed -> of each case
        self._rank = 0

    def add(self, one: Errors) -> None:
        self._rank = one.wanted.ndim
        for fixed in range(1, self._rank):
            if math.prod(one.wanted.shape[fixed:]) >= FEWEST:
                sums = _sums(one, tuple(range(fixed, self._rank)), self._unit)
                self._rows.setdefault(fixed, []).append((one.case, sums))
        columns = {axis: _sums(one, self._but(axis), self._unit) for axis in range(1, self._rank)}
        if self._columns is not None:
            before = self._columns
            columns = {
                axis: sums + before[axis]
                for axis, sums in columns.items()
                if axis in before and sums.count.shape == before[axis].count.shape
            }
        self._columns = columns

    def worst(self) -> Slice | None:
        """None where no slice has enough elements."""
        found = []
        for axis, sums in (self._columns or {}).items():
            found += self._judged([("", sums)], [other if other == axis else None for other in range(self._rank)])
        for fixed, rows in self._rows.items():
            found += self._judged(rows, [axis if axis < fixed else None for axis in range(self._rank)])
        return max(found, key=lambda each: each.used, default=None)

    def _but(self, axis: int) -> tuple[int, ...]:
        return tuple(other for other in range(self._rank) if other != axis)

    def _judged(self, slices: Sequence[tuple[str, _Sums]], axes: Sequence[int | None]) -> list[Slice]:
        """The worst of each case, of slices that lie along the same axes."""
        wide = self._unit.unlucky * _widened([sums for _, sums in slices])
        found = (_worst(sums, self._unit, wide, case, axes) for case, sums in slices)
        return [each for each in found if each is not None]


def _sums(one: Errors, axes: tuple[int, ...], unit: Unit) -> _Sums:
    own = one.own / (unit.rms or 1.0)
    return _Sums(
        1,
        np.asarray(np.sum(one.finite, axis=axes, dtype=np.float64)),
        _powers(one.made, unit.rms, axes)[0],
        *_powers(own, 1.0, axes),
        *_powers(one.wanted, unit.scale, axes),
        *alike(own, one.wanted, axes),
    )


def _widened(slices: Sequence[_Sums]) -> float:
    """How much more than PER_SLICE slices that lie along the same axes may be off, where their errors are alike.

    What all elements have in common is one number in each slice and case, and may be off as an element may. The slices
    are asked together: in one of them PyTorch may have got that number right by luck.
    """
    total = {name: sum(float(np.sum(getattr(sums, name))) for sums in slices) for name in _TOLD}
    part = part_alike(total["count"], total["own"], (total["shared"], total["moved"]))
    return max(1.0, PER_ELEMENT / PER_SLICE * math.sqrt(part / slices[0].cases))


_TOLD = ("count", "own", "shared", "moved")


def _powers(values: Floats, size: float, axes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The sums of squares, and of fourth powers."""
    squares = values / (size or 1.0)
    np.square(squares, out=squares)
    return np.asarray(np.sum(squares, axis=axes)), np.asarray(np.sum(np.square(squares, out=squares), axis=axes))


def _worst(sums: _Sums, unit: Unit, wide: float, case: str, axes: Sequence[int | None]) -> Slice | None:
    judged = (sums.count >= FEWEST) & (_told_by(sums.wanted, sums.wanted_fourth) >= SPREAD)
    if not np.any(judged):
        return None
    count = np.maximum(sums.count, 1.0)
    made, own, in_proportion = (np.sqrt(part / count) for part in (sums.made, sums.own, sums.wanted))
    luck = np.interp(np.minimum(sums.count, _told_by(sums.own, sums.own_fourth)), _COUNTS, _UNLUCKY)
    units = np.maximum(np.maximum(own * luck, in_proportion * wide), FINEST)
    used = np.where(judged, made / (PER_SLICE * units), -1.0)
    index = np.unravel_index(int(np.argmax(used)), used.shape)
    at = iter(index)
    place = ", ".join(":" if axis is None else str(int(next(at))) for axis in axes)
    off, own_unit = float(made[index]), float(units[index])
    return Slice(f"[{place}]", case, float(used[index]), off * unit.rms, off / own_unit)


def _told_by(squares: Floats, fourths: Floats) -> Floats:
    """How many numbers a sum of squares is made up of: all of them where they are normal, one where one outweighs."""
    return np.asarray(3 * np.divide(squares**2, fourths, out=np.zeros_like(squares), where=fourths > 0) - 2)
