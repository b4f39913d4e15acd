"""The largest of a window. The border is -inf, so it never wins, and NaN is larger than everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.lower.kernels.call import DeclinedError, Lowering
from backends.tvm.lower.kernels.conv import bordered, window_of
from backends.tvm.lower.kernels.rows import LARGEST
from backends.tvm.lower.relax_tools import is_float32


def max_pool(at: Lowering, call: relax.Call) -> relax.Expr:
    (x,) = call.args
    attrs, rank = call.attrs, call.ty.ndim
    if not is_float32(x) or attrs.ceil_mode or attrs.layout != attrs.out_layout:
        raise DeclinedError("it is not float32, rounds up, or changes the layout")
    first = str(attrs.layout).index("C") == 1
    axes = list(range(2, rank)) if first else list(range(1, rank - 1))
    window = window_of(attrs, [int(size) for size in attrs.pool_size])

    def compute(a: te.Tensor, shape: Sequence[Any]) -> te.Tensor:
        low, high = [0] * rank, [0] * rank
        for axis, before, after in zip(axes, window.before, window.after, strict=True):
            low[axis], high[axis] = before, after
        source = bordered(a, low, high, -math.inf)
        over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(window.kernel)]

        def element(*i: tirx.Var) -> Any:
            places: list[Any] = list(i)
            for axis, place in zip(axes, window.at([i[axis] for axis in axes], over), strict=True):
                places[axis] = place
            return LARGEST.over(source(*places), axis=over)

        return te.compute(shape, element, name="max_pool")

    return at.call(compute, x, call.ty.shape, name="max_pool")
