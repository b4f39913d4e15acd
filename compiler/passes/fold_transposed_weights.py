"""Transpose(w) of a weight that nothing else uses = a weight that is stored transposed.

The transposed bytes are made only when they are needed, so that a model of several gigabytes never holds a
second copy of its weights. A weight with other users stays as it is: folding would store it twice.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.declined import Declining


class FoldTransposedWeights(Declining, ir.passes.InPlacePass):
    """Only weights; small constants are the constant folder's."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type != "Transpose" or node.domain != "" or node.inputs[0] is None:
                continue
            weight = node.inputs[0]
            if weight.const_value is None or not weight.is_initializer() or weight.is_graph_input():
                continue
            if len(weight.uses()) > 1 or weight.is_graph_output():
                self.decline(node, f"'{weight.name}' has other users")
                continue
            if node.outputs[0].is_graph_output():
                self.decline(node, "its result is an output of the model")
                continue
            _fold(model.graph, node, weight)
            modified = True
        return ir.passes.PassResult(model, modified)


def _fold(graph: ir.Graph, node: ir.Node, weight: ir.Value) -> None:
    tensor = weight.const_value
    assert tensor is not None
    rank = len(tensor.shape)
    perm = list(node.attributes.get_ints("perm", None) or reversed(range(rank)))
    shape = ir.Shape([tensor.shape.numpy()[axis] for axis in perm])
    # It keeps the weight's name, by which a user knows it.
    name = str(weight.name)
    graph.initializers.pop(name)
    lazy = ir.LazyTensor(
        lambda: ir.Tensor(np.ascontiguousarray(np.transpose(tensor.numpy(), perm)), dtype=tensor.dtype),
        dtype=tensor.dtype,
        shape=shape,
        name=name,
    )
    folded = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=lazy)
    node.outputs[0].replace_all_uses_with(folded)
    graph.remove(node, safe=True)
    graph.register_initializer(folded)
