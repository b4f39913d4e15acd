"""Slice(w) of a weight that only such slices use = weights of their own, which together hold no more than w did.

This is how recurrent gates come out of an exporter. Folding them one by one would store the weight twice for as long as
another slice needs it, so the constant folder leaves them alone.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_constant, is_op, small_ints

_SMALL = 1024  # bytes; below this the constant folder does it


class FoldSlicedWeights(LocalRewrite):
    """All slices of a weight, or none."""

    def visit(self, node: ir.Node) -> None:
        weight = node.inputs[0] if is_op(node, "Slice") else None
        if weight is None or not is_constant(weight) or weight.is_graph_output():
            return
        assert weight.const_value is not None
        if weight.const_value.nbytes <= _SMALL or weight.const_value.dtype.bitwidth < 8:
            return
        slices = [user for user, index in weight.uses() if index == 0 and is_op(user, "Slice")]
        if len(slices) < len(weight.uses()):
            self.decline(node, f"'{weight.name}' has other users than slices")
            return
        parts = [_part(user) for user in slices]
        if any(part is None for part in parts):
            self.decline(node, "its bounds are not constant")
            return
        if sum(part.nbytes for part in parts if part is not None) > weight.const_value.nbytes:
            self.decline(node, f"the slices of '{weight.name}' overlap, and would hold more than it does")
            return
        for user, part in zip(slices, parts, strict=True):
            assert part is not None
            self.edit.bypass(user, self.edit.constant(part, weight, weight.dtype))


def _part(node: ir.Node) -> Array | None:
    """What a slice cuts out; None where that is not certain."""
    array = constant(node.inputs[0])
    starts, ends = small_ints(input_of(node, 1)), small_ints(input_of(node, 2))
    if array is None or starts is None or ends is None:
        return None
    axes = small_ints(input_of(node, 3)) if input_of(node, 3) is not None else list(range(len(starts)))
    steps = small_ints(input_of(node, 4)) if input_of(node, 4) is not None else [1] * len(starts)
    if axes is None or steps is None or any(step < 1 for step in steps):
        return None
    cuts = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(start, end, step)
    return np.asarray(array[tuple(cuts)])
