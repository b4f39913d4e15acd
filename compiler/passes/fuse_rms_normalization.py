"""x / sqrt(mean(x^2) + epsilon) * scale = RMSNormalization(x, scale).

A graph of 16-bit floats computes the first stage in float32, between two Casts:

    Cast16(x32 / sqrt(mean(x32^2) + epsilon)) * scale,  x32 = Cast32(x),  =  RMSNormalization(x, scale),

because to cast there and back is what the operator does itself.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import Fused, Fusion, UnfitError, user_of
from compiler.passes.rewriting import dims, made_by
from compiler.passes.root_mean_square import Normalized, normalized, per_element


class FuseRmsNormalization(Fusion):
    """Anchored on the mean of the squares."""

    anchors: ClassVar = frozenset({"ReduceMean"})
    since: ClassVar = 23

    def find(self, node: ir.Node) -> Fused | None:
        found = normalized(node)
        if found is None:
            return None
        x, value, casts = _narrow(found)
        attributes = {"axis": found.axis, "epsilon": found.epsilon, "stash_type": found.stash_type}
        scaled = per_element(found, value, "Mul")
        if scaled is not None:
            product, scale = scaled
            nodes = (*found.nodes, *casts, product)
            return Fused(product, "RMSNormalization", lambda: [x, scale], nodes, attributes)
        sizes = (dims(found.x) or ())[found.axis :]
        shape = [size for size in sizes if isinstance(size, int)]
        if len(shape) != -found.axis or x.dtype is None:
            raise UnfitError("it has no scale, and how large one would be is unknown")
        ones = np.ones(shape, x.dtype.numpy())
        last = casts[-1] if casts else found.nodes[-1]
        nodes = (*found.nodes, *casts)
        return Fused(last, "RMSNormalization", lambda: [x, self.edit.constant(ones, value)], nodes, attributes)


def _narrow(found: Normalized) -> tuple[ir.Value, ir.Value, tuple[ir.Node, ...]]:
    """What the norm takes and gives once the Casts around it belong to it."""
    widened, narrowed = made_by(found.x, "Cast"), user_of(found.value, "Cast")
    x = widened.inputs[0] if widened is not None else None
    if x is None or narrowed is None or x.dtype is None or found.x.dtype != ir.DataType.FLOAT:
        return found.x, found.value, ()
    fits = x.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) and narrowed.outputs[0].dtype == x.dtype
    return (x, narrowed.outputs[0], (narrowed,)) if fits else (found.x, found.value, ())
