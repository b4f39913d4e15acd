"""Transpose(f(Transpose(x))) = f(Transpose(x)) with both orders in one, for f that works element by element.

f may take a second operand that is one number.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.collapse_transposes import permutation
from compiler.passes.elementwise import chain
from compiler.passes.rewriting import LocalRewrite, is_op


class MoveTransposes(LocalRewrite):
    """The second Transpose goes up the chain to the first; both become one there, or none."""

    def visit(self, node: ir.Node) -> None:
        found = chain(node, "Transpose") if is_op(node, "Transpose") else None
        if found is None:
            return
        first, links = found
        inner, outer = permutation(first), permutation(node)
        source = first.inputs[0]
        if inner is None or outer is None or source is None:
            return
        both = [inner[axis] for axis in outer]
        start = source
        if both != sorted(both):
            shape = None if source.shape is None else ir.Shape([source.shape[axis] for axis in both])
            start = self.edit.insert(
                links[0].node,
                "Transpose",
                [source],
                {"perm": both},
                dtype=source.dtype,
                shape=shape,
                origins=[first, node],
            )
        self.edit.lead_through(node, start, links)
