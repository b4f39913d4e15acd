"""Pad[wrap](x, pads) = Gather along each axis, of the places -before .. size + after - 1 modulo the size.

OpenVINO has no such mode.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op, rank, small_ints

_WHOLE = ir.DataType.INT64


class SpellOutWrap(LocalRewrite):
    """For every Pad that goes around."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Pad") or node.attributes.get_string("mode", "constant") != "wrap":
            return
        data, pads, given = (input_of(node, place) for place in (0, 1, 3))
        ranks, axes = rank(data), small_ints(given)
        if data is None or pads is None or ranks is None or (given is not None and axes is None):
            self.decline(node, "its axes are not known")
            return
        axes = list(range(ranks)) if axes is None else [axis % ranks for axis in axes]
        known = small_ints(pads)
        padded = [
            (axis, place)
            for place, axis in enumerate(axes)
            if known is None or known[place] or known[place + len(axes)]
        ]
        for axis, place in padded:
            places = self._places(node, data, axis, pads, (place, place + len(axes)))
            data = self.edit.insert(node, "Gather", [data, places], {"axis": axis}, dtype=data.dtype)
        self.edit.become(node, "Identity", [data])

    def _places(self, node: ir.Node, data: ir.Value, axis: int, pads: ir.Value, where: tuple[int, int]) -> ir.Value:
        def add(operator: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
            return self.edit.insert(node, operator, inputs, attributes, dtype=_WHOLE)

        def number(value: int) -> ir.Value:
            return self.edit.constant(np.array(value), pads)

        size = add("Squeeze", add("Shape", data, start=axis, end=axis + 1))
        before, after = (add("Gather", pads, number(place)) for place in where)
        places = add("Range", add("Neg", before), add("Add", size, after), number(1))
        return add("Mod", places, size)
