"""What an error is counted in: PyTorch's own, measured against the float64 oracle.

The unit of an output is the root mean square of PyTorch's error over all of its elements, in all cases with the same
kind of data, with a floor of a part of a rounding at the output's scale. docs/parity.md derives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from compiler.cases import ORDINARY, Case
from compiler.contracts import Array, dtype_name
from compiler.unit import Floats, Unit, alike, epsilon_named, floor_of, independent, is_complex, part_alike, unlucky

LOST = 32.0  # times what it is on ordinary data, above which other data proves nothing; sound data is below 3

Mask = npt.NDArray[np.bool_]


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

    The error has its sign, which shows what the errors of several elements have in common.

    On data at the edge of a model's range PyTorch may hit the very answer by accident, where all is equal or rounds to
    zero. There the error counts as well that a rounding of the inputs makes.
    """
    torch, oracle = real(case.outputs[name]), real(case.oracle[name])
    finite = np.isfinite(torch.astype(np.float64)) & np.isfinite(oracle)
    wanted = np.where(finite, oracle, 0.0).astype(np.float64, copy=False)
    error = np.where(finite, torch, 0.0).astype(np.float64, copy=False)
    np.subtract(error, wanted, out=error)
    if case.shaken is not None:
        shaken = real(case.shaken[name]).astype(np.float64)
        moved = np.where(finite & np.isfinite(shaken), shaken - wanted, 0.0)
        error = np.where(np.abs(moved) > np.abs(error), moved, error)
    return error, wanted, finite


def epsilon_of(array: Array) -> float | None:
    """The rounding of its type; None where nothing is rounded."""
    return epsilon_named(dtype_name(array.dtype))


def real(array: Array) -> Array:
    """Complex numbers as pairs."""
    return np.stack([array.real, array.imag], axis=-1) if is_complex(dtype_name(array.dtype)) else array


def unit_of(errors: Iterable[tuple[Floats, Floats, Mask]], epsilon: float) -> Unit:
    """From the errors of each case, what was wanted there, and which elements count; of one case at a time."""
    count = telling = cases = 0
    worst = squares = size = 0.0
    parts = np.zeros(2)
    for error, wanted, finite in errors:
        cases += 1
        count += int(np.sum(finite))
        telling += int(np.sum((error != 0) | (wanted != 0)))  # a zero that came out as zero tells nothing
        worst = max(worst, float(np.max(np.abs(error), initial=0.0)))
        squares += float(np.sum(error**2))
        size += float(np.sum(wanted**2))
        parts += alike(error, wanted, tuple(range(error.ndim)))
    told = independent(telling, cases, part_alike(telling, squares, parts))
    rms, scale = (squares / max(count, 1)) ** 0.5, (size / max(count, 1)) ** 0.5
    return Unit(max(rms, floor_of(epsilon) * scale), worst, epsilon, scale, unlucky(told))


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
