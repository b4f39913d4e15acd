"""x * tanh(softplus(x)) = Mish(x), where softplus(x) = log(1 + exp(x)) may be written out.

Written out it overflows where x is above 88; the operator gives x there, which is right.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from compiler.passes.activation import multiplied
from compiler.passes.fusion import Fused, Fusion, is_number, operands
from compiler.passes.rewriting import made_by


class FuseMish(Fusion):
    """Anchored on the Tanh."""

    anchors: ClassVar = frozenset({"Tanh"})
    since: ClassVar = 18

    def find(self, node: ir.Node) -> Fused | None:
        inner = _softplus(node.inputs[0])
        x = inner[-1].inputs[0] if inner else None
        around = multiplied(node.outputs[0], x, {1: 1.0}) if x is not None else None
        if x is None or around is None:
            return None
        return Fused(around[-1], "Mish", lambda: [x], (*inner, node, *around))


def _softplus(value: ir.Value | None) -> tuple[ir.Node, ...]:
    """The nodes that compute it, the one that takes x last."""
    whole = made_by(value, "Softplus", "Log")
    if whole is None or whole.op_type == "Softplus":
        return () if whole is None else (whole,)
    total = made_by(whole.inputs[0], "Add")
    for raised, one in operands(total):
        power = made_by(raised, "Exp")
        if total is not None and power is not None and is_number(one, 1):
            return whole, total, power
    return ()
