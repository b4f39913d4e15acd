"""InstanceNormalization(x as [batch, groups, rest], 1, 0) as x was, * scale + bias = GroupNormalization(x, ...).

Exporters below opset 21 write it so, because the older operator had one scale for each group.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.fusion import FLOATS, Fused, Fusion, UnfitError, hold, operands, user_of
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import constant, made_by


class FuseGroupNormalization(Fusion):
    """Anchored on the InstanceNormalization."""

    anchors: ClassVar = frozenset({"InstanceNormalization"})
    since: ClassVar = 21

    def find(self, node: ir.Node) -> Fused | None:
        flat, whole = made_by(node.inputs[0], "Reshape"), user_of(node.outputs[0], "Reshape")
        x = flat.inputs[0] if flat is not None else None
        if flat is None or whole is None or x is None or not _is_plain(node):
            return None
        groups, channels = _groups(x, flat.outputs[0], whole.outputs[0])
        hold(x.dtype in FLOATS, f"'{x.name}' is not known to be a float")
        last, parameters, nodes = whole, [np.ones(channels), np.zeros(channels)], [node, whole]
        for place, operator in enumerate(("Mul", "Add")):
            step = _per_channel(x, last.outputs[0], operator, channels)
            if step is not None:
                last, parameters[place] = step
                nodes.append(last)
        attributes = {"num_groups": groups, "epsilon": node.attributes.get_float("epsilon", 1e-5)}
        return Fused(last, "GroupNormalization", lambda: [x, *self._built(x, parameters)], nodes, attributes)

    def _built(self, x: ir.Value, parameters: list[Array]) -> list[ir.Value]:
        assert x.dtype is not None
        return [self.edit.constant(array.astype(x.dtype.numpy()), x) for array in parameters]


def _is_plain(node: ir.Node) -> bool:
    scale, bias = (constant(value) for value in node.inputs[1:])
    return scale is not None and bias is not None and bool((scale == 1).all() and (bias == 0).all())


def _groups(x: ir.Value, flat: ir.Value, whole: ir.Value) -> tuple[int, int]:
    """How many groups, and how many channels."""
    before, between, after = map(sizes_of, (x, flat, whole))
    if before is None or between is None or len(before) < 3 or len(between) != 3:
        raise UnfitError("its sizes are not known")
    hold(after == before and between[0] == before[0] is not None, "it does not come back to the shape it had")
    counts = [size.number if size is not None else None for size in (between[1], before[1])]
    if counts[0] is None or counts[1] is None or counts[1] % counts[0]:
        raise UnfitError("how many channels a group has is not known")
    return counts[0], counts[1]


def _per_channel(x: ir.Value, value: ir.Value, operator: str, channels: int) -> tuple[ir.Node, Array] | None:
    """The product or sum with a constant for each channel, and that constant."""
    node = user_of(value, operator)
    for one, other in operands(node):
        array = constant(other) if one is value else None
        if node is None or array is None or array.size != channels:
            continue
        rank = len(sizes_of(x) or ())
        if array.ndim <= rank and (1,) * (rank - array.ndim) + array.shape == (1, channels, *(1,) * (rank - 2)):
            return node, array.reshape(channels)
    return None
