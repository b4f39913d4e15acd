"""[batch, sequence, features] as one list of rows, through everything that works row by row.

matmul(x[b, s, k], w[k, n]) = reshape(matmul(reshape(x, [b*s, k]), w), [b, s, n]). A product over b*s rows needs one
incomplete tile of rows and not one for each b. The reshape behind it is moved on through elementwise operations and
normalizations over the last axis, until it meets the one in front of the next product, and both are gone.
"""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax

from backends.tvm.lower.canonical.operators import ELEMENTWISE, is_unary
from backends.tvm.lower.canonical.rewriter import Rewriter, mutator, settle
from backends.tvm.lower.relax_tools import Extent, constant, fixed, op_name, same_extent, same_shape, shape_of

_NORMS = frozenset({"relax.nn.layer_norm", "relax.nn.rms_norm"})


def flatten_rows(mod: tvm.IRModule) -> tvm.IRModule:
    return settle(mod, _FlattenRows)


@mutator
class _FlattenRows(Rewriter):
    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        name = op_name(call)
        if name == "relax.matmul":
            return self._matmul(call)
        if name == "relax.reshape":
            return self._merged(call)
        if is_unary(call):
            return self._unary(call)
        if name in ELEMENTWISE:
            return self._elementwise(call)
        if name in _NORMS or name == "relax.nn.softmax":
            return self._by_row(call)
        return None

    def _rows(self, expr: relax.Expr) -> relax.Expr | None:
        """The list of rows that this expression is another shape of."""
        made = self.source(expr)
        if op_name(made) != "relax.reshape":
            return None
        inner = made.args[0]
        if inner.ty.ndim != 2 or made.ty.ndim < 3 or not same_extent(shape_of(inner)[1], shape_of(made)[-1]):
            return None
        return inner

    def _matmul(self, call: relax.Call) -> relax.Expr | None:
        left, right = call.args
        if left.ty.ndim < 3 or right.ty.ndim != 2 or constant(right) is None:
            return None
        shape = shape_of(left)
        rows = fixed(math.prod(shape[:-1], start=tvm.tirx.IntImm("int64", 1)))
        flat = self.emit(relax.op.reshape(left, (rows, shape[-1])))
        product = self.emit(relax.op.matmul(flat, right, call.attrs.out_dtype))
        return relax.op.reshape(product, (*shape[:-1], shape_of(right)[-1]))

    def _merged(self, call: relax.Call) -> relax.Expr | None:
        inner = self.source(call.args[0])
        if same_shape(shape_of(call), shape_of(call.args[0])):
            return call.args[0]
        return relax.op.reshape(inner.args[0], call.args[1]) if op_name(inner) == "relax.reshape" else None

    def _unary(self, call: relax.Call) -> relax.Expr | None:
        rows = self._rows(call.args[0])
        return None if rows is None else self._again(call, [rows, *call.args[1:]])

    def _by_row(self, call: relax.Call) -> relax.Expr | None:
        rows, rank = self._rows(call.args[0]), call.args[0].ty.ndim
        axes = call.attrs.axes if op_name(call) in _NORMS else [call.attrs.axis]
        if rows is None or [int(axis) % rank for axis in axes] != [rank - 1]:
            return None
        operands = [rows, *call.args[1:]]
        if op_name(call) == "relax.nn.softmax":
            return self._shaped(relax.op.nn.softmax(rows, -1), call)
        if op_name(call) == "relax.nn.rms_norm":
            return self._shaped(relax.op.nn.rms_norm(*operands, axes=[-1], epsilon=call.attrs.epsilon), call)
        attrs = call.attrs
        made = relax.op.nn.layer_norm(
            *operands, axes=[-1], epsilon=attrs.epsilon, center=attrs.center, scale=attrs.scale
        )
        return self._shaped(made, call)

    def _elementwise(self, call: relax.Call) -> relax.Expr | None:
        whole = shape_of(call)
        # What is broadcast has fewer rows than the result.
        found = [self._rows(operand) if same_shape(shape_of(operand), whole) else None for operand in call.args]
        flat = next((rows for rows in found if rows is not None), None)
        if flat is None or not same_extent(shape_of(flat)[1], whole[-1]):
            return None
        operands: list[relax.Expr] = []
        for operand, rows in zip(call.args, found, strict=True):
            listed = rows if rows is not None else self._as_rows(operand, whole, shape_of(flat))
            if listed is None or (rows is not None and not same_shape(shape_of(rows), shape_of(flat))):
                return None
            operands.append(listed)
        return self._again(call, operands)

    def _as_rows(self, operand: relax.Expr, whole: list[Extent], flat: list[Extent]) -> relax.Expr | None:
        """A tensor of the whole shape, or with one number for each row, as rows; what is the same for all as it is."""
        shape = shape_of(operand)
        if len(shape) <= 1:
            return operand
        if same_shape(shape, whole):
            return self.emit(relax.op.reshape(operand, tuple(flat)))
        if same_shape(shape, [*whole[:-1], 1]):
            return self.emit(relax.op.reshape(operand, (flat[0], 1)))
        value = constant(operand)
        if value is not None and value.size == (value.shape[-1] if value.ndim else 1):
            return relax.const(np.reshape(value, value.shape[-1:]), str(value.dtype))
        return None

    def _again(self, call: relax.Call, operands: list[relax.Expr]) -> relax.Expr:
        return self._shaped(relax.Call(call.op, operands, call.attrs), call)

    def _shaped(self, made: relax.Expr, like: relax.Call) -> relax.Expr:
        return relax.op.reshape(self.emit(made), like.ty.shape)
