"""fmod(a, b) = sign(a) r, where r is |a| reduced by the whole multiples of 2^k |b|, for k from large to 0.

OpenVINO computes a - trunc(a / b) b with one rounded product, which is off by whole multiples of b where a is some
thousand times as large, and NaN where b is infinite. Here every step is exact: its quotient has 11 bits, and it is
multiplied by the two halves of b, of 12 bits each. Up to a quotient of 2^55 the result is that of the C library.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op

_D = ir.DataType
_BITS = 11  # of each quotient
_STEPS = 5
_SPLITTER = 4097.0  # 2^12 + 1: x - (x - y) with x = 4097 y is the upper half of y


class ExactRemainders(LocalRewrite):
    """For every Mod of floats with the sign of the dividend."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Mod") or not node.attributes.get_int("fmod", 0):
            return
        dividend, divisor = node.inputs
        assert dividend is not None and divisor is not None
        kind = dividend.dtype or divisor.dtype
        if kind is None or not kind.is_floating_point():
            return
        self._node = node
        a, b = (self._add("Cast", value, to=_D.FLOAT) for value in (dividend, divisor))
        rest, size = self._add("Abs", a), self._add("Abs", b)
        wide = self._add("Mul", size, self._number(_SPLITTER))
        upper = self._add("Sub", wide, self._add("Sub", wide, size))
        halves = upper, self._add("Sub", size, upper)
        for step in reversed(range(_STEPS)):
            rest = self._reduced(rest, size, halves, 2.0 ** (_BITS * step))
        negative = self._add("Less", a, self._number(0.0), dtype=_D.BOOL)
        signed = self._add("Where", negative, self._add("Neg", rest), rest)
        self.edit.become(node, "Cast", [signed], {"to": kind})

    def _reduced(self, rest: ir.Value, size: ir.Value, halves: tuple[ir.Value, ir.Value], scale: float) -> ir.Value:
        """The rest of a division by `scale` times the size; untouched where it is smaller already."""
        whole, upper, lower = (self._add("Mul", part, self._number(scale)) for part in (size, *halves))
        quotient = self._add("Floor", self._add("Div", rest, whole))
        left = self._add("Sub", rest, self._add("Mul", quotient, upper))
        left = self._add("Sub", left, self._add("Mul", quotient, lower))
        # The rounded quotient is never too small, and at most one too large.
        below = self._add("Less", left, self._number(0.0), dtype=_D.BOOL)
        left = self._add("Where", below, self._add("Add", left, whole), left)
        # With an infinite size, too. Less is false for NaN there, and Greater is true.
        smaller = self._add("Less", rest, whole, dtype=_D.BOOL)
        return self._add("Where", smaller, rest, left)

    def _add(self, operator: str, *inputs: ir.Value, dtype: ir.DataType = _D.FLOAT, **attributes: int) -> ir.Value:
        return self.edit.insert(self._node, operator, inputs, attributes, dtype=dtype)

    def _number(self, number: float) -> ir.Value:
        like = self._node.inputs[1]
        assert like is not None
        return self.edit.constant(np.array(number, np.float32), like)
