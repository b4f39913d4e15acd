"""Slice(Slice(x)) = Slice(x): axes that one of them cuts are put together; an axis that both cut is cut once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op, made_by, rank, small_ints

Cuts = dict[int, tuple[int, int, int]]  # axis -> start, end, step


class CollapseSlices(LocalRewrite):
    """Only slices by constants, and the first of them must have no other user."""

    def visit(self, node: ir.Node) -> None:
        first = made_by(node.inputs[0], "Slice") if is_op(node, "Slice") else None
        source = first.inputs[0] if first is not None else None
        if first is None or source is None or self.edit.opset < 10:
            return
        if len(first.outputs[0].uses()) > 1 or first.outputs[0].is_graph_output():
            return
        known = rank(source)
        if known is None:
            return
        inner, outer = _cuts(first, known), _cuts(node, known)
        cuts = _joined(inner, outer) if inner is not None and outer is not None else None
        if cuts is None:
            self.decline(node, "the bounds of the two slices cannot be put into one")
            return
        columns = [list(cuts), *(list(column) for column in zip(*cuts.values(), strict=True))]
        axes, starts, ends, steps = (
            self.edit.constant(np.array(column, np.int64), node.outputs[0]) for column in columns
        )
        self.edit.become(node, "Slice", [source, starts, ends, axes, steps], origins=[first])


def _cuts(node: ir.Node, known: int) -> Cuts | None:
    starts, ends = small_ints(input_of(node, 1)), small_ints(input_of(node, 2))
    if not starts or not ends:
        return None
    axes = small_ints(input_of(node, 3)) if input_of(node, 3) is not None else list(range(len(starts)))
    steps = small_ints(input_of(node, 4)) if input_of(node, 4) is not None else [1] * len(starts)
    if axes is None or steps is None:
        return None
    places = [axis % known for axis in axes]
    if len(set(places)) < len(places):
        return None
    return dict(zip(places, zip(starts, ends, steps, strict=True), strict=True))


def _joined(inner: Cuts, outer: Cuts) -> Cuts | None:
    joined = dict(inner)
    for axis, (start, end, step) in outer.items():
        if axis not in inner:
            joined[axis] = (start, end, step)
            continue
        low, high, stride = inner[axis]
        if stride != 1 or min(start, end, low, high) < 0 or step < 1:
            return None
        joined[axis] = (low + start, min(high, low + end), step)
    return joined
