"""Transpose(a, p) + Transpose(b, p) = Transpose(a + b, p), and so with all that combines two tensors by elements.

One of the two must have no other user: then there are never more Transposes than before, and the one that is left may
meet the next.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.collapse_transposes import permutation
from compiler.passes.elementwise import BINARY
from compiler.passes.rewriting import LocalRewrite, is_op, made_by, rank


class JoinTransposes(LocalRewrite):
    """Both orders must be the same, and both tensors have as many axes, so that what is stretched stays so."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, *BINARY) or len(node.inputs) != 2:
            return
        left, right = (made_by(value, "Transpose") for value in node.inputs)
        if left is None or right is None or left is right:
            return
        order, one, other = permutation(left), left.inputs[0], right.inputs[0]
        if order is None or order != permutation(right) or one is None or other is None:
            return
        if rank(one) is None or rank(one) != rank(other) or not (_is_alone(left) or _is_alone(right)):
            return
        result = node.outputs[0]
        shape = (
            None if result.shape is None else ir.Shape([result.shape[order.index(axis)] for axis in range(len(order))])
        )
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        inner = self.edit.insert(node, node.op_type, [one, other], attributes, dtype=result.dtype, shape=shape)
        self.edit.become(node, "Transpose", [inner], {"perm": order}, origins=[left, right])


def _is_alone(node: ir.Node) -> bool:
    return len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output()
