"""(W x + b) * s + t = (s W) x + (s b + t): constants for each channel go into the weights before them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.linear import LINEAR, Linear, linear
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_constant, is_op, made_by, rank

_AFFINE = ("Mul", "Div", "Add", "Sub")


class FoldScales(LocalRewrite):
    """Mul, Div, Add and Sub by a constant after Conv, ConvTranspose and Gemm; Mul and Div after MatMul."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, *_AFFINE):
            return
        for index in (0, 1) if node.op_type in ("Mul", "Add") else (0,):
            producer = made_by(node.inputs[index], *LINEAR)
            other = input_of(node, 1 - index)
            if producer is None or other is None or not is_constant(other):
                continue
            target = linear(producer)
            if target is not None and self._fold(node, producer, target, other):
                return

    def _fold(self, node: ir.Node, producer: ir.Node, target: Linear, other: ir.Value) -> bool:
        if node.op_type in ("Add", "Sub") and not target.takes_shift:
            return False
        array = constant(other)
        numbers = target.per_channel(array) if array is not None and array.dtype.kind != "b" else None
        if numbers is None or rank(node.outputs[0]) != target.rank:
            self.decline(node, f"'{other.name}' is more than one number for each channel")
            return False
        objection = target.objection()
        if node.op_type == "Div" and not np.all(numbers):
            objection = "it divides by zero"
        if objection is None:
            objection = target.absorb(self.edit, *_scale_and_shift(node.op_type, numbers))
        if objection is not None:
            self.decline(node, objection)
            return False
        self.edit.take_over(node, producer)
        return True


def _scale_and_shift(operator: str, numbers: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    if operator == "Mul":
        return numbers, None
    if operator == "Div":
        return 1.0 / numbers, None
    return None, numbers if operator == "Add" else -numbers
