"""ReduceMax(x, axes) == -inf  =  not any(x != -inf, axes).

OpenVINO's ReduceMax of nothing but -inf gives the lowest finite number. So ask expanded operators, Attention's body
among them, which rows a mask leaves empty.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op, made_by

_D = ir.DataType


class EmptyRows(LocalRewrite):
    """For every comparison of a ReduceMax with -inf."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Equal"):
            return
        for place in (0, 1):
            reduced = made_by(node.inputs[place], "ReduceMax")
            if reduced is not None and _is_lowest(node.inputs[1 - place]):
                self._ask_each(node, reduced)
                return

    def _ask_each(self, node: ir.Node, reduced: ir.Node) -> None:
        numbers, axes = reduced.inputs[0], input_of(reduced, 1)
        assert numbers is not None
        if numbers.dtype is None or not numbers.dtype.is_floating_point():
            self.decline(node, "the type of what is compared is not known")
            return
        lowest = self.edit.constant(np.array(-np.inf, numbers.dtype.numpy()), numbers)
        masked = self.edit.insert(node, "Equal", [numbers, lowest], dtype=_D.BOOL)
        counted = self.edit.insert(node, "Cast", [masked], {"to": _D.FLOAT}, dtype=_D.FLOAT)
        least = self.edit.insert(node, "ReduceMin", [counted, axes], dict(reduced.attributes), dtype=_D.FLOAT)
        self.edit.become(node, "Cast", [least], {"to": _D.BOOL}, origins=[reduced])


def _is_lowest(value: ir.Value | None) -> bool:
    """Whether it is -inf for certain, in whatever type."""
    while (cast := made_by(value, "Cast", "CastLike", "Identity")) is not None:
        value = cast.inputs[0]
    held = None if value is None else value.const_value
    if held is None and (made := made_by(value, "Constant")) is not None and "value" in made.attributes:
        held = made.attributes["value"].as_tensor()
    return held is not None and held.size == 1 and held.dtype.is_floating_point() and held.numpy().item() == -np.inf
