"""Reshape(Reshape(x)) = Reshape(x), and so with Squeeze, Unsqueeze and Flatten: each keeps the elements in order."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.reshaping import constant_target, names_of_inputs, sizes_of
from compiler.passes.rewriting import LocalRewrite, input_of, is_op, made_by, same_shape, small_ints

_KINDS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


class CollapseReshapes(LocalRewrite):
    """The second of two takes what the first one took, where the shape that comes out can be said of that."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._never_zero = names_of_inputs(model)
        return super().call(model)

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, *_KINDS):
            return
        first = made_by(node.inputs[0], *_KINDS)
        source = first.inputs[0] if first is not None else None
        if first is None or source is None:
            return
        if same_shape(source, node.outputs[0]):
            self.edit.bypass(node, source)
            return
        if len(first.outputs[0].uses()) > 1 or first.outputs[0].is_graph_output():
            return
        target = self._target(source, node)
        if target is None:
            self.decline(node, f"more than one dim of its result is neither a number nor a dim of '{source.name}'")
            return
        shape = self.edit.constant(np.array(target, np.int64), node.outputs[0])
        self.edit.become(node, "Reshape", [source, shape], origins=[first])

    def _target(self, source: ir.Value, node: ir.Node) -> list[int] | None:
        before, after = sizes_of(source), sizes_of(node.outputs[0])
        found = constant_target(before, after, self._never_zero) if before is not None and after is not None else None
        if found is not None or node.op_type != "Reshape":
            return found
        own = small_ints(input_of(node, 1))  # a target without 0 says all by itself
        return own if own is not None and 0 not in own else None
