"""A product, or a convolution, of codes instead of one of what they stand for.

With x = s (q - z) and W = t p, for each column, x W = s t (q p - z sum(p)): a product of bytes summed up in int32, a
row of whole numbers that is known beforehand, and one scale for each column. A convolution does it at each place, with
codes of zero around them. Where x are numbers, x W = t (x p) still spares three quarters of the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from backends.tvm.explain import Explain
from backends.tvm.lower.canonical.channels_last import DATA, DIMS, convolution
from backends.tvm.lower.canonical.permutes import channels_first, channels_last, permutation
from backends.tvm.lower.canonical.rewriter import Rewriter, mutator, settle
from backends.tvm.lower.kernels.call import DeclinedError, call_in_words
from backends.tvm.lower.kernels.dots import dot_of
from backends.tvm.lower.relax_tools import constant, dtype_of, is_float32, known, op_name, shape_of
from backends.tvm.target import Machine

# With more terms than this a sum of the largest products leaves int32.
_LONGEST_SUM = (2**31 - 1) // (255 * 128 * 2)
_TO_UNSIGNED = 128


@dataclass(frozen=True)
class Codes:
    """Unsigned ones: `zero + shift` stands for 0. It and the size of a step may be known only when the model runs."""

    codes: relax.Expr
    scale: relax.Expr
    zero: relax.Expr
    shift: int

    @property
    def known_zero(self) -> int | None:
        value = constant(self.zero)
        return None if value is None else int(value.item()) + self.shift


@dataclass(frozen=True)
class Weight:
    """Signed codes, and the step of each output; the axis of outputs is the last."""

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
        name = op_name(call) or ""
        if not (name == "relax.matmul" or name in DIMS) or not is_float32(*call.args, call):
            return None
        data = self.source(call.args[0])
        try:
            if op_name(data) == "relax.dequantize" and dtype_of(data.args[0]) in ("uint8", "int8"):
                if dot_of(self.machine) is None:
                    raise DeclinedError(f"{self.machine.mcpu} has no instruction for it")
                return self._matmul(call, data) if name == "relax.matmul" else self._conv(call, data)
        except DeclinedError as reason:
            self.explain.decline(f"integer product of {call_in_words(call)}", str(reason))
        try:
            return self._of_bytes(call) if name == "relax.matmul" else None
        except DeclinedError as reason:
            self.explain.decline(f"weights as bytes of {call_in_words(call)}", str(reason))
            return None

    def _matmul(self, call: relax.Call, data: relax.Call) -> relax.Expr:
        if call.args[0].ty.ndim < 2 or known(shape_of(call.args[0])[-1]) is None:
            raise DeclinedError("its left side has no rows of a known length")
        weight, left = self._right_side(call), self._codes(data)
        sums = self.emit(relax.op.matmul(left.codes, relax.const(weight.codes), "int32"))
        return self._scaled(sums, left, weight)

    def _of_bytes(self, call: relax.Call) -> relax.Expr | None:
        """Numbers times codes: the weights stay bytes, and become numbers in registers."""
        if op_name(self._turned(call)[0]) != "relax.dequantize" or call.args[0].ty.ndim < 2:
            return None
        weight = self._right_side(call)
        product = self.emit(relax.op.matmul(call.args[0], relax.const(weight.codes), "float32"))
        return relax.op.multiply(product, relax.const(np.ascontiguousarray(weight.steps)))

    def _right_side(self, call: relax.Call) -> Weight:
        right, turned = self._turned(call)
        return self._weight(right, 2, 0 if turned else 1)

    def _turned(self, call: relax.Call) -> tuple[relax.Expr, bool]:
        """What the right side was made by, and whether it was turned over since."""
        right = self.source(call.args[1])
        if op_name(right) == "relax.permute_dims" and permutation(right) == [1, 0]:
            return self.source(right.args[0]), True
        return right, False

    def _conv(self, call: relax.Call, data: relax.Call) -> relax.Expr:
        attrs, rank = call.attrs, call.ty.ndim
        dims = rank - 2
        if int(attrs.groups) != 1 or attrs.data_layout != DATA[dims][0]:
            raise DeclinedError("it has groups, or its channels are not the second axis")
        weight, left = self._weight(self.source(call.args[1]), rank, 0), self._codes(data)
        codes, padding = self.emit(relax.op.permute_dims(left.codes, channels_last(rank))), attrs.padding
        zero = left.known_zero
        if zero is None:
            raise DeclinedError("what stands for 0 is only known when it runs")
        if zero and any(padding):
            ends = [int(pad) for pad in padding]
            pairs = [pad for place in range(dims) for pad in (ends[place], ends[dims + place])]
            codes = self.emit(relax.op.nn.pad(codes, [0, 0, *pairs, 0, 0], "constant", zero))
            padding = [0] * len(padding)
        kernel = relax.const(np.ascontiguousarray(np.moveaxis(weight.codes, (-1, 0), (0, -1))))
        made = convolution(call, codes, kernel, list(padding), "int32")
        return relax.op.permute_dims(self.emit(self._scaled(self.emit(made), left, weight)), channels_first(rank))

    def _codes(self, data: relax.Call) -> Codes:
        codes, scale, zero = data.args[0], *(self.source(operand) for operand in data.args[1:])
        if not all(extent == 1 for operand in (scale, zero) for extent in shape_of(operand)):
            raise DeclinedError("what it is multiplied with has more than one scale")
        scale, zero = (
            source if constant(source) is not None else operand
            for source, operand in zip((scale, zero), data.args[1:], strict=True)
        )
        if dtype_of(codes) == "uint8":
            return Codes(codes, scale, zero, 0)
        wide = self.emit(relax.op.astype(codes, "int32"))
        shifted = self.emit(relax.op.add(wide, relax.const(np.int32(_TO_UNSIGNED))))
        return Codes(self.emit(relax.op.astype(shifted, "uint8")), scale, zero, _TO_UNSIGNED)

    def _weight(self, made: relax.Expr, rank: int, outputs: int) -> Weight:
        if op_name(made) != "relax.dequantize":
            raise DeclinedError("its weights are not dequantized")
        codes, steps, zero = (constant(self.source(operand)) for operand in made.args)
        if codes is None or steps is None or zero is None or codes.ndim != rank or codes.dtype != np.int8:
            raise DeclinedError("its weights are no constant of int8")
        if zero.any():
            raise DeclinedError("its weights have zero points")
        if steps.size > 1 and int(made.attrs.axis) % rank != outputs:
            raise DeclinedError("the scales of its weights are not those of outputs")
        codes = np.ascontiguousarray(np.moveaxis(codes, outputs, -1))
        if codes[..., 0].size > _LONGEST_SUM:
            raise DeclinedError(f"sums of {codes[..., 0].size} products may leave int32")
        return Weight(codes, np.broadcast_to(steps.reshape(-1), codes.shape[-1:]))

    def _scaled(self, sums: relax.Expr, left: Codes, weight: Weight) -> relax.Expr:
        columns = weight.codes.sum(axis=tuple(range(weight.codes.ndim - 1)), dtype=np.int32)
        zero, scale = left.known_zero, constant(left.scale)
        if zero is None:
            number = self.emit(relax.op.astype(left.zero, "int32"))
            number = self.emit(relax.op.add(number, relax.const(np.int32(left.shift))))
            correction = self.emit(relax.op.multiply(number, relax.const(columns)))
            sums = self.emit(relax.op.subtract(sums, correction))
        elif zero:
            sums = self.emit(relax.op.subtract(sums, relax.const(np.int32(zero) * columns)))
        if scale is None:
            steps = self.emit(relax.op.multiply(left.scale, relax.const(np.ascontiguousarray(weight.steps))))
        else:
            steps = relax.const(scale.reshape(()) * weight.steps)
        return relax.op.multiply(self.emit(relax.op.astype(sums, "float32")), steps)
