"""Reshape(f(Reshape(x))) = f(Reshape(x)), for f that works element by element on one tensor."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.elementwise import chain
from compiler.passes.reshaping import constant_target, names_of_inputs, sizes_of
from compiler.passes.rewriting import LocalRewrite, is_op, rank, same_shape

_KINDS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


class MoveReshapes(LocalRewrite):
    """The second Reshape goes up the chain to the first; both become one there, or none."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._never_zero = names_of_inputs(model)
        return super().call(model)

    def visit(self, node: ir.Node) -> None:
        found = chain(node, *_KINDS) if is_op(node, *_KINDS) else None
        source = found[0].inputs[0] if found is not None else None
        if found is None or source is None:
            return
        first, links = found
        result = node.outputs[0]
        if rank(result) in (None, 0):
            return  # a list of one as the second operand would make a list of it
        start = source
        if not same_shape(source, result):
            before, after = sizes_of(source), sizes_of(result)
            target = None
            if before is not None and after is not None:
                target = constant_target(before, after, self._never_zero)
            if target is None:
                self.decline(node, f"the shape of its result cannot be said in terms of '{source.name}'")
                return
            shape = self.edit.constant(np.array(target, np.int64), result)
            start = self.edit.insert(
                links[0].node, "Reshape", [source, shape], dtype=source.dtype, shape=result.shape, origins=[first, node]
            )
        self.edit.lead_through(node, start, links)
