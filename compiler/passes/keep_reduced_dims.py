"""Unsqueeze(ReduceSum<keepdims=0>(x, axes), axes) = ReduceSum<keepdims=1>(x, axes), and Squeeze the other way round.

So with every reduction.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, ints, is_op, made_by, rank

_REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip


class KeepReducedDims(LocalRewrite):
    """The axes that come back, or go, must be those that were reduced."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Squeeze", "Unsqueeze"):
            return
        keeps = node.op_type == "Unsqueeze"
        reduction = made_by(node.inputs[0], *_REDUCTIONS)
        if reduction is None or bool(reduction.attributes.get_int("keepdims", 1)) == keeps:
            return
        middle = reduction.outputs[0]
        dims, reduced, moved = rank(reduction.inputs[0]), ints(reduction, "axes", 1), ints(node, "axes", 1)
        if (
            dims is None
            or not reduced
            or not moved
            or {axis % dims for axis in reduced} != {axis % dims for axis in moved}
        ):
            return
        if len(middle.uses()) > 1 or middle.is_graph_output():
            return
        attributes = {name: attr.value for name, attr in reduction.attributes.items()} | {"keepdims": int(keeps)}
        self.edit.become(node, reduction.op_type, list(reduction.inputs), attributes, origins=[reduction])
