"""Numbers as whole numbers with a scale, and back. Bytes are left to Relax's own operators, which products look for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import maximum, minimum, number
from backends.tvm.emit.op import Emit, Op, Result

_BYTES = ("int8", "uint8")
_WHOLE = ("int8", "uint8", "int16", "uint16", "int32")


def _quantize(op: Op) -> Result:
    wanted = op.output_dtype()
    if wanted not in _WHOLE:
        op.refuse(f"to {wanted}")
    if wanted in _BYTES and op.dtype() == op.dtype(1) == "float32" and _is_plain(op):
        return relax.op.quantize(*_operands(op, wanted), wanted)
    scale, zero = _parameter(op, 1), _parameter(op, 2)

    def compute(data: te.Tensor, *parameters: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            by = scale(parameters[0], index).astype("float32")
            level = tirx.nearbyint(data(*index).astype("float32") / by)  # ties go to the even number
            if op.has(2):
                level = level + zero(parameters[1], index).astype("float32")
            low, high = (number(int(bound(wanted)), level) for bound in (tirx.min_value, tirx.max_value))
            return minimum(maximum(level, low), high).astype(wanted)

        return te.compute(data.shape, element, name="T_quantize")

    return op.te(compute, *_inputs(op))


def _dequantize(op: Op) -> Result:
    if op.dtype() not in _WHOLE:
        op.refuse(f"from {op.dtype()}")
    if op.dtype() in _BYTES and op.dtype(1) == op.output_dtype() == "float32" and _is_plain(op):
        return relax.op.dequantize(*_operands(op, op.dtype()), "float32")
    scale, zero = _parameter(op, 1), _parameter(op, 2)

    def compute(data: te.Tensor, *parameters: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            level = data(*index).astype("int32")
            if op.has(2):
                level = level - zero(parameters[1], index).astype("int32")
            value = level.astype("float32") * scale(parameters[0], index).astype("float32")
            return value.astype(op.output_dtype())

        return te.compute(data.shape, element, name="T_dequantize")

    return op.te(compute, *_inputs(op))


def _is_plain(op: Op) -> bool:
    """One scale, or one for each place of an axis."""
    return op.rank(1) <= 1 and op.rank() > 0 and not op.attr("block_size", 0)


def _operands(op: Op, dtype: str) -> tuple[relax.Expr, relax.Expr, relax.Expr, int]:
    one = op.shape(1) in ([], [1])
    zero = op.x(2) if op.has(2) else relax.const(np.zeros([op.settled(n) for n in op.shape(1)], dtype), dtype)
    return op.x(0), op.x(1), zero, -1 if one else op.axis("axis", 1)


def _inputs(op: Op) -> list[relax.Expr]:
    return [op.x(place) for place in range(3) if op.has(place)]


def _parameter(op: Op, place: int) -> Callable[[te.Tensor, Sequence[Any]], Any]:
    """How a scale or zero point is read for an element: one for all, one for each place of an axis, or for blocks."""
    if not op.has(place):
        return lambda tensor, index: None
    rank, shape = op.rank(place), op.shape(place)
    if rank == 0 or (rank == 1 and shape[0] == 1):
        return lambda tensor, index: tensor(*[0] * rank)
    axis, block = op.axis("axis", 1), op.attr("block_size", 0)
    if rank == 1:
        return lambda tensor, index: tensor(index[axis])
    return lambda tensor, index: tensor(
        *(tirx.floordiv(i, block) if at == axis and block else i for at, i in enumerate(index))
    )


EMIT: dict[str, Emit] = {"DequantizeLinear": _dequantize, "QuantizeLinear": _quantize}
