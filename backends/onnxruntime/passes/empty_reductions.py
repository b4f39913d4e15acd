"""A reduction over nothing = its neutral element: 0 for sums, 1 for products, NaN for means.

ONNX Runtime leaves the empty axis in the result's shape where the last axis is reduced and has no element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, static_shape

_NEUTRAL: Mapping[str, float] = {
    "ReduceL1": 0,
    "ReduceL2": 0,
    "ReduceLogSum": -math.inf,
    "ReduceLogSumExp": -math.inf,
    "ReduceMean": math.nan,
    "ReduceProd": 1,
    "ReduceSum": 0,
    "ReduceSumSquare": 0,
}


class EmptyReductions(LocalRewrite):
    """Where both shapes are known. Extrema of nothing are left alone: the standard gives them per type."""

    def visit(self, node: ir.Node) -> None:
        neutral = _NEUTRAL.get(node.op_type) if node.domain == "" else None
        if neutral is None:
            return
        data, result = node.inputs[0], node.outputs[0]
        before, after = None if data is None else static_shape(data), static_shape(result)
        if before is None or after is None or 0 not in before or result.dtype is None:
            return
        if not result.dtype.is_floating_point() and not math.isfinite(neutral):
            return
        sizes = self.edit.constant(np.array(after, np.int64), result)
        value = ir.tensor(np.full(1, neutral, result.dtype.numpy()))
        self.edit.become(node, "ConstantOfShape", [sizes], {"value": value})
