"""Nodes and initializers that no output depends on are removed.

onnx-ir's pass for this drops a dead If or Loop without taking the nodes inside of it off the values that they use,
so that those look used for ever.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compiler.passes.rewriting import detach, graphs, wanted


class RemoveDeadCode(RemoveUnusedNodesPass):
    """onnx-ir's own does the rest: initializers, and outputs of nodes that nobody asks for."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in graphs(model):
            for node in reversed(tuple(graph)):
                if not any(map(wanted, node.outputs)):
                    detach(node)
                    graph.remove(node, safe=True)
                    modified = True
        return ir.passes.PassResult(model, bool(super().call(model).modified) or modified)
