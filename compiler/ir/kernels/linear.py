"""Matrix products and Einsum."""

from __future__ import annotations

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import BFLOAT16, HALF, Call, Kernel, Result, is_float, to_numpy, to_torch


def matmul(x: Array, y: Array) -> Result:
    if not is_float(x):
        return np.matmul(x, y)
    return to_numpy(torch.matmul(to_torch(x), to_torch(y)), x.dtype)


def _gemm(call: Call, a: Array, b: Array, c: Array | None = None) -> Result:
    """Low precision is rounded once, at the end, as by everyone who adds the bias to a sum that is still in float32."""
    narrow = a.dtype
    wide = np.dtype(np.float32) if narrow in (BFLOAT16, HALF) else narrow
    a, b = a.astype(wide, copy=False), b.astype(wide, copy=False)
    product = matmul(a.T if call["transA"] else a, b.T if call["transB"] else b)
    if call["alpha"] != 1:
        product = (product * call["alpha"]).astype(wide)
    if c is not None and call["beta"] != 0:
        c = c.astype(wide, copy=False)
        product = product + (c if call["beta"] == 1 else (c * call["beta"]).astype(wide))
    return product.astype(narrow, copy=False)


def _einsum(call: Call, *inputs: Array) -> Array:
    if not is_float(inputs[0]):
        return np.asarray(np.einsum(call["equation"], *inputs))
    return to_numpy(torch.einsum(call["equation"], *map(to_torch, inputs)), inputs[0].dtype)


def _matmul_integer(call: Call, a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> Result:
    wide_a, wide_b = a.astype(np.int32), b.astype(np.int32)
    if a_zero is not None:
        # One zero point for each row of the left matrix, for each column of the right one.
        wide_a = wide_a - (a_zero[..., None] if a_zero.ndim == 1 else a_zero).astype(np.int32)
    if b_zero is not None:
        wide_b = wide_b - b_zero.astype(np.int32)
    return np.matmul(wide_a, wide_b)


TABLE: dict[str, Kernel] = {
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda call, x, y: matmul(x, y),
    "MatMulInteger": _matmul_integer,
}
