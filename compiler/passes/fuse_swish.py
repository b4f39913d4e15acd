"""x * sigmoid(alpha x) = Swish<alpha>(x): SiLU with alpha 1, and with 1.702 what is known as the quick Gelu."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from compiler.passes.activation import argument, multiplied
from compiler.passes.fusion import Fused, Fusion, exact_attribute


class FuseSwish(Fusion):
    """Anchored on the Sigmoid."""

    anchors: ClassVar = frozenset({"Sigmoid"})
    since: ClassVar = 24

    def find(self, node: ir.Node) -> Fused | None:
        within = argument(node)
        if within is None or within.polynomial.coefficients.keys() != {1}:
            return None
        x, alpha = within.x, within.polynomial.coefficients[1]
        around = multiplied(node.outputs[0], x, {1: 1.0})
        if around is None:
            return None
        nodes = (*within.polynomial.nodes, node, *around)
        return Fused(around[-1], "Swish", lambda: [x], nodes, {"alpha": exact_attribute(alpha, x)})
