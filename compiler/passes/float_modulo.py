"""Mod(a, b) of floats = r + b where r and b differ in sign, else r, with r = Mod[fmod=1](a, b).

ONNX Runtime and OpenVINO take Mod of floats with the sign of the dividend only.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op

_D = ir.DataType


class FloatModulo(LocalRewrite):
    """For every Mod of floats that rounds down."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Mod") or node.attributes.get_int("fmod"):
            return
        a, b = node.inputs
        assert a is not None and b is not None
        dtype = a.dtype or b.dtype
        if dtype is None or not dtype.is_floating_point():
            return
        zero = self.edit.constant(np.zeros((), dtype.numpy()), b)

        def add(operator: str, *inputs: ir.Value, to: ir.DataType, **attributes: int) -> ir.Value:
            return self.edit.insert(node, operator, inputs, attributes, dtype=to)

        rest = add("Mod", a, b, to=dtype, fmod=1)
        signs = [add("Less", value, zero, to=_D.BOOL) for value in (rest, b)]
        differ = add("Xor", *signs, to=_D.BOOL)
        # Nothing is added to a rest of zero, of whatever sign.
        some = add("Not", add("Equal", rest, zero, to=_D.BOOL), to=_D.BOOL)
        moved = add("Add", rest, b, to=dtype)
        self.edit.become(node, "Where", [add("And", differ, some, to=_D.BOOL), moved, rest])
