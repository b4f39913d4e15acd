"""Pad(x, pads, value) = Pad(x, pads, value, all axes), before a MaxPool.

ONNX Runtime merges a Pad into the MaxPool behind it, whose own padding is -inf and not the Pad's zero: where a
window holds nothing above zero, the answer is wrong. A Pad that names its axes is not merged.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


class NamePadAxes(ir.passes.InPlacePass):
    """For every Pad that a MaxPool uses."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in graph:
                if node.op_type == "Pad" and node.domain == "" and _before_max_pool(node) and not _has_axes(node):
                    modified |= _name_axes(model, graph, node)
        return ir.passes.PassResult(model, modified)


def _before_max_pool(node: ir.Node) -> bool:
    return any(user.op_type == "MaxPool" for user, _ in node.outputs[0].uses())


def _has_axes(node: ir.Node) -> bool:
    return len(node.inputs) > 3 and node.inputs[3] is not None


def _name_axes(model: ir.Model, graph: ir.Graph, node: ir.Node) -> bool:
    data = node.inputs[0]
    # `axes` came with opset 18.
    if data is None or data.shape is None or model.opset_imports.get("", 0) < 18:
        return False
    name = f"{node.outputs[0].name}_axes"
    tensor = ir.tensor(np.arange(len(data.shape), dtype=np.int64), name=name)
    axes = ir.Value(name=name, shape=ir.Shape([len(data.shape)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(axes)
    node.resize_inputs(4)
    node.replace_input_with(3, axes)
    return True
