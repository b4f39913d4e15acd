"""Matrix products."""

from __future__ import annotations

import numpy as np
from tvm import relax

from backends.tvm.emit.op import Emit, Op, Result

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
    product = matmul(op, a, b)
    dtype, alpha, beta = op.dtype(), op.attr("alpha", 1.0), op.attr("beta", 1.0)
    if alpha != 1.0:
        product = op.emit(relax.op.multiply(product, op.const(alpha, dtype)))
    if not op.has(2) or beta == 0.0:
        return product
    bias = op.x(2)
    if beta != 1.0:
        bias = op.emit(relax.op.multiply(bias, op.const(beta, dtype)))
    return relax.op.add(product, bias)


EMIT: dict[str, Emit] = {"Gemm": _gemm, "MatMul": _matmul}
