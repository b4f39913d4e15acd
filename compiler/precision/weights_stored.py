"""DequantizeLinear in the place of a constant: standard ONNX, by channel or in blocks."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import Edit
from compiler.precision.rounding import Rounded
from compiler.precision.weights_found import Weight

_TYPES: dict[tuple[int, bool], tuple[Any, ir.DataType]] = {
    (8, True): (np.int8, ir.DataType.INT8),
    (8, False): (np.uint8, ir.DataType.UINT8),
    (4, True): (ml_dtypes.int4, ir.DataType.INT4),
    (4, False): (ml_dtypes.uint4, ir.DataType.UINT4),
}


def store(edit: Edit, weight: Weight, rounded: Rounded, before: ir.Node) -> ir.Value:
    """Everyone who used the weight uses what is read back; `before` is the first of those who read it."""
    old, grid = weight.value, rounded.grid
    numpy_type, dtype = _TYPES[grid.bits, grid.symmetric]
    codes = edit.constant(_laid_out(rounded.codes, weight).astype(numpy_type), old, dtype)
    inputs = [codes, _parameter(edit, rounded.scales.scale, weight, rounded, ir.DataType.FLOAT)]
    if rounded.scales.zero is not None:
        inputs.append(_parameter(edit, rounded.scales.zero.astype(numpy_type), weight, rounded, dtype))
    blocks = {"axis": weight.summed, "block_size": grid.size} if grid.size else {"axis": 1 - weight.summed}
    read = edit.insert(before, "DequantizeLinear", inputs, blocks, dtype=ir.DataType.FLOAT, shape=old.shape)
    old.replace_all_uses_with(read)
    edit.prune([old])
    return read


def _parameter(edit: Edit, array: Array, weight: Weight, rounded: Rounded, dtype: ir.DataType) -> ir.Value:
    laid_out = _laid_out(array, weight) if rounded.grid.size else array.reshape(-1)
    return edit.constant(laid_out, weight.value, dtype)


def _laid_out(rows: Array, weight: Weight) -> Array:
    return rows.T if weight.summed == 0 else rows
