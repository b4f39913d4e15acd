"""relax.quantize and relax.dequantize as ONNX has them: to the nearest, ties to the even number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.lower.vector_math import let, rounded


def quantize(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    wanted, axis = str(call.attrs.out_dtype), int(call.attrs.axis)

    def compute(data: te.Tensor, scale: te.Tensor, zero: te.Tensor) -> te.Tensor:
        by, zero_point = _parameter(scale, axis), _parameter(zero, axis)
        low, high = (tirx.const(int(bound(wanted)), "int32") for bound in (tirx.min_value, tirx.max_value))

        def element(*i: tirx.Var) -> Any:
            middle = zero_point(i).astype("int32")
            least, most = (low - middle).astype("float32"), (high - middle).astype("float32")
            level = let(data(*i) / by(i), lambda x: tirx.Select(x < least, least, tirx.Select(x > most, most, x)))
            # Held within the codes first, because only small numbers are rounded in this way, which vectorises.
            return (rounded(level) + middle).astype(wanted)

        return te.compute(data.shape, element, name="quantize")

    return bb.call_te(compute, *call.args, primfunc_name_hint="quantize")


def dequantize(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    axis = int(call.attrs.axis)

    def compute(data: te.Tensor, scale: te.Tensor, zero: te.Tensor) -> te.Tensor:
        by, zero_point = _parameter(scale, axis), _parameter(zero, axis)

        def element(*i: tirx.Var) -> Any:
            level = data(*i).astype("int32") - zero_point(i).astype("int32")
            return level.astype("float32") * by(i)

        return te.compute(data.shape, element, name="dequantize")

    return bb.call_te(compute, *call.args, primfunc_name_hint="dequantize")


def _parameter(tensor: te.Tensor, axis: int) -> Callable[[Sequence[Any]], Any]:
    """One for all, or one for each place of an axis."""
    if all(isinstance(extent, tirx.IntImm) and int(extent) == 1 for extent in tensor.shape):
        return lambda i: tensor(*[0] * len(tensor.shape))
    return lambda i: tensor(i[axis])
