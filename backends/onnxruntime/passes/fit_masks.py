"""Attention(q, k, v, mask) = Attention(q, k, v, a mask that ONNX Runtime reads as the standard does).

Its CPU kernel refuses a mask of one row for all queries, which the standard stretches: here it is stretched before. And
it takes the lowest number of a type for -inf: a row that is masked by it
throughout gives 0, and not the mean of the values. Half of that number masks as well, as every score that is added to
it is lost in the rounding. (Of float64 it has no kernel; of float16, half of the lowest number would not mask.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_op, made_by

_MASK = 3
_LOWEST = float(np.finfo(np.float32).min)


class FitMasks(LocalRewrite):
    """Layers that share a mask go on sharing it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._lifted: dict[tuple[object, ir.Value], ir.Value] = {}
        self._stretched: dict[tuple[object, ir.Value, str], ir.Value] = {}
        return super().call(model)

    def visit(self, node: ir.Node) -> None:
        mask = input_of(node, _MASK) if is_op(node, "Attention") else None
        if mask is None:
            return
        fitted = self._stretch(node, self._lift(node, mask))
        if fitted is not mask:
            node.replace_input_with(_MASK, fitted)
            self.edit.prune([mask])

    def _lift(self, node: ir.Node, mask: ir.Value) -> ir.Value:
        """With half of the lowest number in place of that."""
        if mask.dtype != ir.DataType.FLOAT or _is_lifted(mask):
            return mask
        key = node.graph, mask
        if key not in self._lifted:
            half, chosen = self._number(_LOWEST / 2, mask), made_by(mask, "Where")
            if chosen is not None and _is(chosen.inputs[2], _LOWEST) and _is(chosen.inputs[1], 0):
                inputs = [*chosen.inputs[:2], half]
            else:
                is_lowest = [mask, self._number(_LOWEST, mask)]
                inputs = [self.edit.insert(node, "Equal", is_lowest, dtype=ir.DataType.BOOL), half, mask]
            self._lifted[key] = self.edit.insert(node, "Where", inputs, dtype=mask.dtype, shape=mask.shape)
        return self._lifted[key]

    def _stretch(self, node: ir.Node, mask: ir.Value) -> ir.Value:
        """With as many rows as there are queries."""
        sizes, queries = sizes_of(mask), sizes_of(node.inputs[0])
        if sizes is None or queries is None or len(sizes) < 2:
            return mask
        rows = queries[-2]
        if rows is not None and sizes[-2] == rows:
            return mask
        key = node.graph, mask, str(rows)
        if key not in self._stretched:
            around = [self.edit.constant(np.ones(count, np.int64), mask) for count in (len(sizes) - 2, 1)]
            row_count = self.edit.insert(
                node, "Shape", [node.inputs[0]], {"start": -2, "end": -1}, dtype=ir.DataType.INT64
            )
            parts = [around[0], row_count, around[1]]
            target = self.edit.insert(node, "Concat", parts, {"axis": 0}, dtype=ir.DataType.INT64)
            self._stretched[key] = self.edit.insert(node, "Expand", [mask, target], dtype=mask.dtype)
        return self._stretched[key]

    def _number(self, number: float, like: ir.Value) -> ir.Value:
        return self.edit.constant(np.array(number, np.float32), like)


def _is(value: ir.Value | None, number: float) -> bool:
    array = constant(value)
    return array is not None and array.size == 1 and float(array.reshape(-1)[0]) == number


def _is_lifted(mask: ir.Value) -> bool:
    stretched = made_by(mask, "Expand")
    chosen = made_by(stretched.inputs[0] if stretched is not None else mask, "Where")
    return chosen is not None and any(_is(value, float(np.float32(_LOWEST / 2))) for value in chosen.inputs[1:])
