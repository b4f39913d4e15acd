"""An output that is a constant without elements = ConstantOfShape(its shape).

OpenVINO gives such an output no axes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import Edit


class EmptyOutputs(ir.passes.InPlacePass):
    """For outputs of the main graph."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        edit = Edit(model)
        for value in list(model.graph.outputs):
            held = value.const_value if value.is_initializer() else None
            if held is not None and held.size == 0:
                _make(model.graph, edit, value, held)
                edit.modified = True
        return ir.passes.PassResult(model, edit.modified)


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
