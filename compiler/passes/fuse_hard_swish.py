"""x * clip(x + 3, 0, 6) / 6 = x * HardSigmoid<1/6, 1/2>(x) = HardSwish(x)."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from compiler.passes.activation import argument, multiplied
from compiler.passes.fusion import Fused, Fusion, is_number, scalar
from compiler.passes.rewriting import input_of


class FuseHardSwish(Fusion):
    """Anchored on the Clip or the HardSigmoid."""

    anchors: ClassVar = frozenset({"Clip", "HardSigmoid"})
    since: ClassVar = 14

    def find(self, node: ir.Node) -> Fused | None:
        within = argument(node)
        if within is None or not within.equals({0: 3.0, 1: 1.0} if node.op_type == "Clip" else {1: 1.0}):
            return None
        if not (_is_clip(node) if node.op_type == "Clip" else _is_hard_sigmoid(node)):
            return None
        x = within.x
        around = multiplied(node.outputs[0], x, {1: 1 / 6 if node.op_type == "Clip" else 1.0})
        if around is None:
            return None
        return Fused(around[-1], "HardSwish", lambda: [x], (*within.polynomial.nodes, node, *around))


def _is_clip(node: ir.Node) -> bool:
    return scalar(input_of(node, 1)) == 0 and is_number(input_of(node, 2), 6)


def _is_hard_sigmoid(node: ir.Node) -> bool:
    slope, middle = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return abs(slope - 1 / 6) < 1e-7 and middle == 0.5
