"""Data at the edge of what a model is made for: what becomes of it is known to differ between runtimes.

Each probe changes ordinary inputs in one respect. Whether a target does as PyTorch does is a verdict of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from compiler.contracts import Array, Arrays, TensorSpec
from compiler.frontend.draws import is_float
from compiler.frontend.program import InputRange

_SPECIAL = {"NaN": np.nan, "+Inf": np.inf, "-Inf": -np.inf}
_BEYOND = 2**33 + 3  # of which 32 bits keep 3
_BELOW = 1 / 16  # of the smallest number with all its digits, which no normal draw exceeds


def probes(
    specs: Sequence[TensorSpec], ranges: Mapping[str, InputRange], ordinary: Arrays
) -> Iterator[tuple[str, Arrays]]:
    """Each probe's name with its inputs; those that nothing can be made of are left out."""
    noise = {name for name, allowed in ranges.items() if allowed.noise}
    arrays = {spec.name: ordinary[spec.name] for spec in specs if spec.name not in noise and ordinary[spec.name].size}
    floats = {name: array for name, array in arrays.items() if is_float(array)}
    others = {name: array for name, array in arrays.items() if array.dtype.kind in "iub"}
    masks = {name: array for name, array in others.items() if name not in ranges}
    for name, array in floats.items():
        for word, value in _SPECIAL.items():
            yield f"{word} in {name}", {**ordinary, name: _with(array, value)}
    for name, array in masks.items():
        yield from ((f"{what} {name}", {**ordinary, name: mask}) for what, mask in _masks(array))
        if array.dtype == np.int64:
            yield f"beyond 32 bits in {name}", {**ordinary, name: _with(array, _BEYOND)}
    for name, array in floats.items():
        if array.ndim > 1:
            yield f"a row of -Inf in {name}", {**ordinary, name: _row(array, -np.inf)}
    if floats:
        yield (
            "ties",
            {
                **ordinary,
                **{name: np.round(array.astype(np.float64)).astype(array.dtype) for name, array in floats.items()},
            },
        )
        yield "denormals", {**ordinary, **{name: _denormal(array) for name, array in floats.items()}}


def _masks(array: Array) -> Iterator[tuple[str, Array]]:
    if array.ndim == 0:
        return
    yield "nothing in a row of", _row(array, 0)
    corner = _row(array, 0)
    corner[(0,) * array.ndim] = 1
    yield "only the first in a row of", corner
    yield "nothing at all in", np.zeros_like(array)


def _with(array: Array, value: float) -> Array:
    """One element, away from the ends."""
    changed = array.copy()
    changed.flat[array.size // 2] = value
    return changed


def _row(array: Array, value: float) -> Array:
    """The first row along the last axis."""
    changed = array.copy()
    changed[(0,) * (array.ndim - 1)] = value
    return changed


def _denormal(array: Array) -> Array:
    import ml_dtypes

    smallest = float(ml_dtypes.finfo(array.dtype).smallest_normal)
    return np.asarray(array.astype(np.float64) * _BELOW * smallest).astype(array.dtype)
