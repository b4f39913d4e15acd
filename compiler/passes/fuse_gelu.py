"""0.5 x (1 + erf(x / sqrt(2))) = Gelu(x), and 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = Gelu<tanh>(x).

Factors may stand in any order and on any side, and the inner polynomial may be written with x taken out.
"""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from compiler.passes.activation import argument, multiplied
from compiler.passes.fusion import Fused, Fusion, is_number, other, user_of

_WITHIN = {
    "Erf": {1: math.sqrt(0.5)},
    "Tanh": {1: math.sqrt(2 / math.pi), 3: math.sqrt(2 / math.pi) * 0.044715},
}


class FuseGelu(Fusion):
    """Anchored on the Erf or the Tanh."""

    anchors: ClassVar = frozenset(_WITHIN)
    since: ClassVar = 20

    def find(self, node: ir.Node) -> Fused | None:
        within = argument(node)
        if within is None or not within.equals(_WITHIN[node.op_type]):
            return None
        x, raised = within.x, user_of(node.outputs[0], "Add")
        if raised is None or not is_number(other(raised, node.outputs[0]), 1):
            return None
        around = multiplied(raised.outputs[0], x, {1: 0.5})
        if around is None:
            return None
        attributes = {"approximate": "tanh"} if node.op_type == "Tanh" else {}
        nodes = (*within.polynomial.nodes, node, raised, *around)
        return Fused(around[-1], "Gelu", lambda: [x], nodes, attributes)
