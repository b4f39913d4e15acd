"""op(a, b) of small integers = ((op(int32(a), int32(b)) + h) & (2h - 1)) - h, with h = 0 where they have no sign, and
the mask as wide as the type.

OpenVINO's CPU lets 8 and 16 bits saturate. In int32 it wraps around as it should, and the lowest bits of a sum or a
product are the same there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op

_WIDE = ir.DataType.INT32
_BITS = {ir.DataType.INT8: 8, ir.DataType.UINT8: 8, ir.DataType.INT16: 16, ir.DataType.UINT16: 16}
_LONGEST_SHIFT = 16  # shifted by that much, nothing is left of 16 bits


class WrapIntegers(LocalRewrite):
    """For arithmetic on 8 and 16 bits whose result may not fit in."""

    def visit(self, node: ir.Node) -> None:
        narrow = node.outputs[0].dtype if is_op(node, "Add", "Sub", "Mul", "Div", "Neg", "BitwiseNot") else None
        if is_op(node, "BitShift") and node.attributes.get_string("direction") == "LEFT":
            narrow = node.outputs[0].dtype
        if narrow is None or narrow not in _BITS:
            return
        wide = [self._widened(node, value) for value in node.inputs if value is not None]
        if node.op_type == "BitShift":
            result = self._inserted(node, "Mul", wide[0], self._power(node, wide[1]))
        else:
            result = self._inserted(node, node.op_type, *wide)
        self.edit.become(node, "Cast", [self._wrapped(node, result, narrow)], {"to": narrow})

    def _widened(self, node: ir.Node, value: ir.Value) -> ir.Value:
        return self.edit.insert(node, "Cast", [value], {"to": _WIDE}, dtype=_WIDE, shape=value.shape)

    def _power(self, node: ir.Node, exponent: ir.Value) -> ir.Value:
        """2 to a power."""
        last = self._number(_LONGEST_SHIFT, exponent)
        powers = self.edit.constant(2 ** np.arange(_LONGEST_SHIFT + 1, dtype=np.int32), exponent)
        return self._inserted(node, "Gather", powers, self._inserted(node, "Min", exponent, last))

    def _wrapped(self, node: ir.Node, value: ir.Value, narrow: ir.DataType) -> ir.Value:
        mask = self._number(2 ** _BITS[narrow] - 1, value)
        if not narrow.is_signed():
            return self._inserted(node, "BitwiseAnd", value, mask)
        half = self._number(2 ** (_BITS[narrow] - 1), value)
        raised = self._inserted(node, "Add", value, half)
        return self._inserted(node, "Sub", self._inserted(node, "BitwiseAnd", raised, mask), half)

    def _inserted(self, node: ir.Node, operator: str, *inputs: ir.Value) -> ir.Value:
        return self.edit.insert(node, operator, inputs, dtype=_WIDE)

    def _number(self, number: int, like: ir.Value) -> ir.Value:
        return self.edit.constant(np.array(number, np.int32), like)
