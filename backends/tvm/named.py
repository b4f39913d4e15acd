"""Which weight of the model each constant of the program is.

On its way through the compiler a weight is laid out anew, and filled up with zeros. That changes neither the sum of its
magnitudes nor that of its squares, and no two weights of a trained model have the same of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array

_FEWEST = 2  # elements; a single number is found in too many places

_Sums = tuple[str, str]


def names(model: ir.Model, constants: Sequence[Array]) -> list[str]:
    """For each constant the name of its weight; empty where there is none, or more than one."""
    known: dict[_Sums, str] = {}
    for value in model.graph.initializers.values():
        array = value.const_value.numpy() if value.const_value is not None else None
        if array is not None and (sums := _sums(array)) is not None:
            known[sums] = "" if sums in known else value.name or ""
    return [known.get(sums, "") if (sums := _sums(constant)) is not None else "" for constant in constants]


def _sums(array: Array) -> _Sums | None:
    """To as many digits as the order of the terms does not change."""
    if array.dtype.kind != "f" or array.size < _FEWEST:
        return None
    flat = np.abs(array.ravel())
    return f"{flat.sum(dtype=np.float64):.7e}", f"{np.square(flat, dtype=np.float64).sum():.7e}"
