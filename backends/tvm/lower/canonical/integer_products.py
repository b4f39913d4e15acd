"""A product of codes instead of one of what they stand for.

With x = s (q - z) and W = t p, for each column, x W = s t (q p - z sum(p)): a product of bytes summed up in int32, a
row of whole numbers that is known beforehand, and one scale for each column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from backends.tvm.explain import Explain
from backends.tvm.lower.canonical.permutes import permutation
from backends.tvm.lower.canonical.rewriter import Rewriter, mutator, settle
from backends.tvm.lower.kernels.call import DeclinedError, call_in_words
from backends.tvm.lower.kernels.dots import dot_of
from backends.tvm.lower.relax_tools import constant, dtype_of, is_float32, known, op_name, shape_of
from backends.tvm.target import Machine

# With more terms than this a sum of the largest products leaves int32.
_LONGEST_SUM = (2**31 - 1) // (255 * 128 * 2)
_TO_UNSIGNED = 128


@dataclass(frozen=True)
class Weight:
    """Codes [K, N], and the step of each column."""

    codes: np.ndarray[Any, Any]
    steps: np.ndarray[Any, Any]


def integer_products(mod: tvm.IRModule, machine: Machine, explain: Explain) -> tvm.IRModule:
    return settle(mod, lambda module: _IntegerProducts(module, machine, explain))


@mutator
class _IntegerProducts(Rewriter):
    def __init__(self, mod: tvm.IRModule, machine: Machine, explain: Explain) -> None:
        super().__init__(mod)
        self.machine = machine
        self.explain = explain

    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        if op_name(call) != "relax.matmul" or not is_float32(call):
            return None
        data = self.source(call.args[0])
        if op_name(data) != "relax.dequantize" or dtype_of(data.args[0]) not in ("uint8", "int8"):
            return None
        try:
            return self._integer(data, self._weight(call.args[1]))
        except DeclinedError as reason:
            self.explain.decline(f"integer product of {call_in_words(call)}", str(reason))
            return None

    def _weight(self, right: relax.Expr) -> Weight:
        made, turned = self.source(right), False
        if op_name(made) == "relax.permute_dims" and permutation(made) == [1, 0]:
            made, turned = self.source(made.args[0]), True
        if op_name(made) != "relax.dequantize":
            raise DeclinedError("its weights are not dequantized")
        codes, steps, zero = (constant(self.source(operand)) for operand in made.args)
        if codes is None or steps is None or zero is None or codes.ndim != 2 or codes.dtype != np.int8:
            raise DeclinedError("its weights are no constant matrix of int8")
        if zero.any():
            raise DeclinedError("its weights have zero points")
        axis = int(made.attrs.axis) % 2
        if steps.size > 1 and axis != (0 if turned else 1):
            raise DeclinedError("the scales of its weights are not those of columns")
        codes = codes.T if turned else codes
        if len(codes) > _LONGEST_SUM:
            raise DeclinedError(f"sums of {len(codes)} products may leave int32")
        return Weight(np.ascontiguousarray(codes), np.broadcast_to(steps.reshape(-1), codes.shape[1:]))

    def _integer(self, data: relax.Call, weight: Weight) -> relax.Expr:
        if dot_of(self.machine) is None:
            raise DeclinedError(f"{self.machine.mcpu} has no instruction for it")
        codes, scale, zero = data.args
        if codes.ty.ndim < 2 or known(shape_of(codes)[-1]) is None:
            raise DeclinedError("its left side has no rows of a known length")
        if not all(_is_one(operand) for operand in (scale, zero)):
            raise DeclinedError("its left side has more than one scale")
        shift = 0
        if dtype_of(codes) == "int8":
            wide = self.emit(relax.op.astype(codes, "int32"))
            shifted = self.emit(relax.op.add(wide, relax.const(np.int32(_TO_UNSIGNED))))
            codes, shift = self.emit(relax.op.astype(shifted, "uint8")), _TO_UNSIGNED
        sums = self.emit(relax.op.matmul(codes, relax.const(weight.codes), "int32"))
        exact = self.emit(relax.op.subtract(sums, self._correction(zero, shift, weight)))
        return relax.op.multiply(self.emit(relax.op.astype(exact, "float32")), self._steps(scale, weight))

    def _correction(self, zero: relax.Expr, shift: int, weight: Weight) -> relax.Expr:
        columns = weight.codes.sum(axis=0, dtype=np.int32)
        value = constant(self.source(zero))
        if value is not None:
            return relax.const((value.astype(np.int32).reshape(()) + np.int32(shift)) * columns)
        wide = self.emit(relax.op.astype(zero, "int32"))
        if shift:
            wide = self.emit(relax.op.add(wide, relax.const(np.int32(shift))))
        return self.emit(relax.op.multiply(wide, relax.const(columns)))

    def _steps(self, scale: relax.Expr, weight: Weight) -> relax.Expr:
        value = constant(self.source(scale))
        if value is not None:
            return relax.const(value.reshape(()) * weight.steps)
        return self.emit(relax.op.multiply(scale, relax.const(np.ascontiguousarray(weight.steps))))


def _is_one(operand: relax.Expr) -> bool:
    return all(extent == 1 for extent in shape_of(operand))
