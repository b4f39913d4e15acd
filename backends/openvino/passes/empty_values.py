"""What holds nothing = ConstantOfShape(its shape).

OpenVINO's CPU divides by zero where it gathers from nothing, takes no Gemm without rows, and gives an output that is a
constant without elements no axes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import Edit, LocalRewrite, is_op, static_shape


class EmptyValues(LocalRewrite):
    """For results that are known to be empty, and for outputs that are constants."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        result = super().call(model)
        for value in list(model.graph.outputs):
            held = value.const_value if value.is_initializer() else None
            if held is not None and held.size == 0:
                _make(model.graph, self.edit, value, held)
                self.edit.modified = True
        return ir.passes.PassResult(model, result.modified or self.edit.modified)

    def visit(self, node: ir.Node) -> None:
        shape, dtype = static_shape(node.outputs[0]), node.outputs[0].dtype
        if len(node.outputs) != 1 or shape is None or 0 not in shape or dtype is None:
            return
        if is_op(node, "ConstantOfShape", "Constant"):
            return
        sizes = self.edit.constant(np.array(shape, np.int64), node.outputs[0])
        self.edit.become(node, "ConstantOfShape", [sizes], {"value": ir.tensor(np.zeros(1, dtype.numpy()))})


def _make(graph: ir.Graph, edit: Edit, value: ir.Value, held: ir.TensorProtocol) -> None:
    """In place of the initializer, under its name. A constant comes from nowhere, and so does this."""
    sizes = edit.constant(np.array(held.shape.numpy(), np.int64), value)
    node = ir.node("ConstantOfShape", [sizes], {"value": ir.tensor(np.zeros(1, held.dtype.numpy()))})
    made = node.outputs[0]
    made.type, made.shape = value.type, value.shape
    del graph.initializers[str(value.name)]
    ir.convenience.replace_all_uses_with(value, made, replace_graph_outputs=True)
    made.name = value.name
    graph.insert_before(graph[0], node) if len(graph) else graph.append(node)
