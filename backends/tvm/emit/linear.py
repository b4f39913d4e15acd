"""Matrix products and determinants."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx

from backends.tvm.emit.extents import Extent, product
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.statements import Buffers, filling

_HALVES = ("float16", "bfloat16")


def matmul(op: Op, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """float16 is summed up in float32."""
    dtype = str(a.ty.dtype)
    if dtype in _HALVES:
        wide = relax.op.matmul(op.emit(relax.op.astype(a, "float32")), op.emit(relax.op.astype(b, "float32")))
        return op.emit(relax.op.astype(op.emit(wide), dtype))
    return op.emit(relax.op.matmul(a, b))


def transposed(op: Op, place: int) -> relax.Expr:
    """A constant is turned over right away, so that it can still be packed."""
    constant = op.constant(place)
    if constant is not None:
        return relax.const(np.ascontiguousarray(constant.T), op.dtype(place))
    return op.emit(relax.op.permute_dims(op.x(place), [1, 0]))


def _matmul(op: Op) -> Result:
    return matmul(op, op.x(0), op.x(1))


def _gemm(op: Op) -> Result:
    a = transposed(op, 0) if op.attr("transA", 0) else op.x(0)
    b = transposed(op, 1) if op.attr("transB", 0) else op.x(1)
    made = matmul(op, a, b)
    dtype, alpha, beta = op.dtype(), op.attr("alpha", 1.0), op.attr("beta", 1.0)
    if alpha != 1.0:
        made = op.emit(relax.op.multiply(made, op.const(alpha, dtype)))
    if not op.has(2) or beta == 0.0:
        return made
    bias = op.x(2)
    if beta != 1.0:
        bias = op.emit(relax.op.multiply(bias, op.const(beta, dtype)))
    return relax.op.add(made, bias)


def _determinant(op: Op) -> Result:
    """The product of the pivots of an elimination; the largest element of a column is its pivot."""
    *lead, size, _ = op.shape()
    count, dtype = op.settled(product(lead)), op.dtype()
    if dtype in _HALVES:
        op.refuse(f"of {dtype}")

    none = tirx.const(0, dtype)

    def larger(left: Any, m: Any, one: Any, other: Any, column: Any) -> Any:
        return tirx.abs(left[m, one, column]) > tirx.abs(left[m, other, column])

    def body(ins: Buffers, outs: Buffers) -> None:
        from tvm.script.ir_builder import tirx as T

        (given,), (result, left, pivot, spare) = ins, outs
        with T.parallel(0, given.shape[0]) as m:
            T.buffer_store(result, tirx.const(1, dtype), [m])
            with T.serial(0, given.shape[1]) as i, T.serial(0, given.shape[1]) as j:
                T.buffer_store(left, given[m, i, j], [m, i, j])
            with T.serial(0, given.shape[1]) as k:
                T.buffer_store(pivot, k.astype("int64"), [m])
                with T.serial(0, given.shape[1] - k) as i, T.If(larger(left, m, k + i, pivot[m], k)), T.Then():
                    T.buffer_store(pivot, (k + i).astype("int64"), [m])
                with T.If(tirx.NE(pivot[m], k)), T.Then():
                    T.buffer_store(result, none - result[m], [m])
                    with T.serial(0, given.shape[1]) as j:
                        T.buffer_store(spare, left[m, k, j], [m])
                        T.buffer_store(left, left[m, pivot[m], j], [m, k, j])
                        T.buffer_store(left, spare[m], [m, pivot[m], j])
                T.buffer_store(result, result[m] * left[m, k, k], [m])
                # A column without a pivot has nothing to be taken away.
                divisor = tirx.Select(tirx.EQ(left[m, k, k], none), tirx.const(1, dtype), left[m, k, k])
                with T.serial(0, given.shape[1] - k - 1) as i:
                    T.buffer_store(spare, left[m, k + 1 + i, k] / divisor, [m])
                    with T.serial(0, given.shape[1] - k) as j:
                        rest = left[m, k + 1 + i, k + j] - spare[m] * left[m, k, k + j]
                        T.buffer_store(left, rest, [m, k + 1 + i, k + j])

    outputs: list[tuple[list[Extent], str]] = [([count], dtype), ([count, size, size], dtype)]
    outputs += [([count], "int64"), ([count], dtype)]
    made, *_ = filling(op, body, outputs, op.reshape(op.x(), [count, size, size]))
    return op.reshape(made, lead)


EMIT: dict[str, Emit] = {"Det": _determinant, "Gemm": _gemm, "MatMul": _matmul}
