"""(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias = LayerNormalization(x, scale, bias).

Exporters below opset 17 write it out. In a graph of 16-bit floats it may stand between two Casts, which are what the
operator does itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import onnx_ir as ir

from compiler.passes.fusion import Fused, Fusion, hold
from compiler.passes.rewriting import made_by
from compiler.passes.root_mean_square import Normalized, last_axes, normalized


class FuseLayerNormalization(Fusion):
    """Anchored on the mean of the squares."""

    anchors: ClassVar = frozenset({"ReduceMean"})
    since: ClassVar = 17

    def find(self, node: ir.Node) -> Fused | None:
        scattered = normalized(node)
        wide = _centred(scattered) if scattered is not None else None
        if wide is None:
            return None
        found = wide.within_casts()
        last, nodes, parameters = found.nodes[-1], found.nodes, []
        for operator in ("Mul", "Add"):
            step = found.per_element(last.outputs[0], operator)
            if step is None:
                break
            last, nodes = step[0], (*nodes, step[0])
            parameters.append(step[1])
        if not parameters:
            found.hold_ones()
        return Fused(
            last,
            "LayerNormalization",
            lambda: [found.x, *(parameters or [found.ones(self.edit)])],
            nodes,
            found.attributes,
        )


def _centred(found: Normalized) -> Normalized | None:
    """The same with x in place of x - mean(x)."""
    difference = made_by(found.x, "Sub")
    x, subtracted = difference.inputs if difference is not None else (None, None)
    mean = made_by(subtracted, "ReduceMean")
    if difference is None or mean is None or x is None or mean.inputs[0] is not x:
        return None
    hold(last_axes(mean, x) == found.axis, "it is centred over other axes than it is scaled over")
    return replace(found, x=x, nodes=(mean, difference, *found.nodes))
