"""Swish<alpha>(x) = QuickGelu<alpha>(x), which is an operator of ONNX Runtime's own.

It has no kernel for Swish and runs the function body: a Cast, two products and a Sigmoid, where QuickGelu is one pass
over the data. On the CPU, 65,536 float32: 0.043 ms against 0.024 ms.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op

_DOMAIN = "com.microsoft"


class QuickGelu(LocalRewrite):
    """For every Swish."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        result = super().call(model)
        if result.modified:
            model.opset_imports.setdefault(_DOMAIN, 1)
        return result

    def visit(self, node: ir.Node) -> None:
        if is_op(node, "Swish"):
            alpha = node.attributes.get_float("alpha", 1.0)
            self.edit.become(node, "QuickGelu", node.inputs, {"alpha": alpha})
            node.domain = _DOMAIN
