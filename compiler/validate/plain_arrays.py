"""Arrays of types that numpy's file format does not know."""

from __future__ import annotations

import numpy as np

from compiler.contracts import Array, dtype_name


def plain(array: Array) -> Array:
    """The bits of bfloat16 travel as uint16."""
    return array.view(np.uint16) if dtype_name(array.dtype) == "bfloat16" else array


def typed(array: Array, dtype: str) -> Array:
    if dtype != "bfloat16":
        return array
    import ml_dtypes

    return array.view(ml_dtypes.bfloat16)
