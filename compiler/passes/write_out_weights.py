"""DequantizeLinear(q, s, z) = the numbers that it gives, of constants.

For a target that has no use for weights in few bits: it computes the same, and the weights are as large as before.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from compiler.ir.evaluate import Evaluator
from compiler.passes.rewriting import LocalRewrite, is_constant, is_op


class WriteOutWeights(LocalRewrite):
    """Of these element types."""

    def __init__(self, dtypes: Collection[ir.DataType]) -> None:
        super().__init__()
        self._dtypes = dtypes

    def visit(self, node: ir.Node) -> None:
        parts = [value for value in node.inputs if value is not None]
        if (
            not is_op(node, "DequantizeLinear")
            or parts[0].dtype not in self._dtypes
            or not all(map(is_constant, parts))
        ):
            return
        result = node.outputs[0]
        if result.is_graph_output():
            return
        alone = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in parts]
        copy = ir.node("DequantizeLinear", alone, node.attributes, outputs=[ir.Value(name="read")])
        graph = ir.Graph(alone, copy.outputs, nodes=[copy], opset_imports={"": self.edit.opset})
        given = {str(value.name): value.const_value.numpy() for value in parts if value.const_value is not None}
        array = Evaluator(ir.Model(graph, ir_version=10), precise=False)(given)["read"]
        constant = self.edit.constant(array, parts[0], result.dtype)
        result.replace_all_uses_with(constant)
        self.edit.remove(node)
