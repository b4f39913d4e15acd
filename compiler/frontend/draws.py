"""Data of other kinds than the ordinary, made from it: of another size, with outliers, without any variation.

Each kind has rounding errors of another size, so that they are counted apart. All of it is data that a model may well
be given: a fault that shows on one of these is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compiler.cases import ORDINARY
from compiler.contracts import Array, Arrays
from compiler.frontend.program import InputRange

KINDS = ("tiny", "large", "heavy-tailed", "constant", "zeros")

_TINY, _LARGE = 1e-4, 1e3
_FREEDOM = 2  # degrees of freedom of Student's distribution: the fewest with a mean, so that outliers are common
_OUTERMOST = 1e3


def of_kind(kind: str, inputs: Arrays, ranges: Mapping[str, InputRange], rng: np.random.Generator) -> dict[str, Array]:
    """Ordinary inputs made into this kind. What the program itself would draw stays as it draws it."""
    return {
        name: array if kind == ORDINARY or _is_noise(ranges.get(name)) else _changed(kind, array, ranges.get(name), rng)
        for name, array in inputs.items()
    }


def shaken(inputs: Arrays, rng: np.random.Generator) -> dict[str, Array]:
    """Every float off by up to a rounding, at its own size or the whole input's: what that does to the outputs is no
    fault of whoever computes them. Without variation in the data one run alone does not show how much it is."""
    return {name: _shaken(array, rng) if is_float(array) else array for name, array in inputs.items()}


def is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _is_noise(allowed: InputRange | None) -> bool:
    return allowed is not None and allowed.noise


def _changed(kind: str, array: Array, allowed: InputRange | None, rng: np.random.Generator) -> Array:
    if is_float(array):
        wide = array.astype(np.float64)
        return np.asarray(_FLOATS[kind](wide, rng)).astype(array.dtype)
    if allowed is None or allowed.hi is None or allowed.rising:
        return array  # a mask, or where bags begin: another one would be another question
    if kind == "zeros":
        return np.zeros_like(array)
    return _constant(array, rng) if kind == "constant" else array


def _heavy_tailed(array: Array, rng: np.random.Generator) -> Array:
    spread = np.sqrt(rng.chisquare(_FREEDOM, array.shape) / _FREEDOM)
    return np.clip(array / spread, -_OUTERMOST, _OUTERMOST)


def _constant(array: Array, _: np.random.Generator) -> Array:
    """Each row has one value."""
    return np.broadcast_to(array[..., :1], array.shape).copy() if array.ndim else array


_FLOATS = {
    "tiny": lambda array, _: array * _TINY,
    "large": lambda array, _: array * _LARGE,
    "heavy-tailed": _heavy_tailed,
    "constant": _constant,
    "zeros": lambda array, _: np.zeros_like(array),
}


def _shaken(array: Array, rng: np.random.Generator) -> Array:
    import ml_dtypes

    wide = array.astype(np.float64)
    size = float(np.sqrt(np.mean(wide**2))) if array.size else 0.0
    rounding = float(ml_dtypes.finfo(array.dtype).eps) * np.maximum(np.abs(wide), size or 1.0)
    return np.asarray(wide + rounding * rng.uniform(-1, 1, array.shape)).astype(array.dtype)
