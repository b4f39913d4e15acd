"""(W x + b) * s + t = (s W) x + (s b + t): constants for each channel go into the weights before them.

The bias of a MatMul is an Add behind it; a scale goes through that into both.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import operands
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
        if is_op(node, "Mul"):
            self._fold_through_bias(node)

    def _fold_through_bias(self, node: ir.Node) -> None:
        for biased, scale in operands(node):
            add = made_by(biased, "Add")
            for product, bias in operands(add):
                target = linear(made_by(product, "MatMul"))
                if add is not None and target is not None and self._scale_both(node, add, target, bias, scale):
                    return

    def _scale_both(self, node: ir.Node, add: ir.Node, target: Linear, bias: ir.Value, scale: ir.Value) -> bool:
        old, by = constant(bias), constant(scale)
        shift = target.per_channel(old) if old is not None else None
        numbers = target.per_channel(by) if by is not None else None
        if old is None or shift is None or numbers is None or rank(node.outputs[0]) != target.rank:
            return False
        with np.errstate(over="ignore", under="ignore"):
            new = (shift * numbers).astype(old.dtype)
        objection = target.objection()
        if len(bias.uses()) > 1:
            objection = f"'{bias.name}' is shared, and would be stored twice"
        elif len(add.outputs[0].uses()) > 1 or add.outputs[0].is_graph_output():
            objection = "the result of the Add before it has other users"
        elif not np.isfinite(new).all():
            objection = "the bias would leave the range of its type"
        objection = objection or target.absorb(self.edit, numbers, None)
        if objection is not None:
            self.decline(node, objection)
            return False
        add.replace_input_with(list(add.inputs).index(bias), self.edit.constant(new, bias))
        self.edit.prune([bias])
        self.edit.take_over(node, add)
        return True

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
