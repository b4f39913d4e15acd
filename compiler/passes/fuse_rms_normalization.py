"""x / sqrt(mean(x^2) + epsilon) * scale = RMSNormalization(x, scale).

A graph of 16-bit floats computes the first stage in float32, between two Casts:

    Cast16(x32 / sqrt(mean(x32^2) + epsilon)) * scale,  x32 = Cast32(x),  =  RMSNormalization(x, scale),

because to cast there and back is what the operator does itself.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from compiler.passes.fusion import Fused, Fusion
from compiler.passes.root_mean_square import normalized


class FuseRmsNormalization(Fusion):
    """Anchored on the mean of the squares."""

    anchors: ClassVar = frozenset({"ReduceMean"})
    since: ClassVar = 23

    def find(self, node: ir.Node) -> Fused | None:
        wide = normalized(node)
        if wide is None:
            return None
        found = wide.within_casts()
        scaled = found.per_element(found.value, "Mul")
        if scaled is None:
            found.hold_ones()
            last, nodes = found.nodes[-1], found.nodes
        else:
            last, nodes = scaled[0], (*found.nodes, scaled[0])
        return Fused(
            last,
            "RMSNormalization",
            lambda: [found.x, scaled[1] if scaled is not None else found.ones(self.edit)],
            nodes,
            found.attributes,
        )
