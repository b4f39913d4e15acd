"""Identity(x) = x: users of the output use the input instead.

onnx-ir's pass for this renames the input where the output is one of the graph's, and so loses one of two outputs
that are the same value, and lets a branch hand out a value of the graph around it. Here such an Identity stays.
"""

from __future__ import annotations

import onnx_ir as ir


class RemoveIdentities(ir.passes.InPlacePass):
    """An Identity stays where a name must: between an input or weight, or another output, and an output."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for root in (model.graph, *(function.graph for function in model.functions.values())):
            for graph in (root, *root.subgraphs()):
                for node in list(graph):
                    if node.op_type == "Identity" and node.domain == "":
                        modified |= _remove(graph, node)
        return ir.passes.PassResult(model, modified)


def _remove(graph: ir.Graph, node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return False
    if result.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not graph or source.is_graph_output():
            return False
        source.name, source.type, source.shape = result.name, result.type, result.shape
        result.name = None
    else:
        source.type = source.type or result.type
        source.shape = source.shape or result.shape
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True
