"""Convolutions. They stay Relax operators, so that layouts and packed weights can be chosen later."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import narrowed, widened

_CONV: dict[int, Callable[..., relax.Expr]] = {
    1: relax.op.nn.conv1d,
    2: relax.op.nn.conv2d,
    3: relax.op.nn.conv3d,
}
_TRANSPOSED: dict[int, Callable[..., relax.Expr]] = {
    1: relax.op.nn.conv1d_transpose,
    2: relax.op.nn.conv2d_transpose,
    3: relax.op.nn.conv3d_transpose,
}


def window_pads(op: Op, spatial: list[Any], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Begins, then ends, as ONNX has them."""
    auto = op.attr("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return op.attr("pads", None) or [0] * (2 * len(kernel))
    if auto == "VALID":
        return [0] * (2 * len(kernel))
    if not all(isinstance(extent, int) for extent in spatial):
        op.refuse(f"auto_pad {auto} over a dynamic dim")
    totals = [
        max((-(-extent // stride) - 1) * stride + (size - 1) * dilation + 1 - extent, 0)
        for extent, size, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return less + more if auto == "SAME_UPPER" else more + less


def _conv(op: Op) -> Result:
    spatial = op.rank() - 2
    kernel = [_fixed(op, extent) for extent in op.shape(1)[2:]]
    strides = op.attr("strides", None) or [1] * spatial
    dilations = op.attr("dilations", None) or [1] * spatial
    pads = window_pads(op, op.shape()[2:], kernel, strides, dilations)
    if spatial not in _CONV:
        op.refuse(f"over {spatial} dims")
    x, weight = widened(op, op.x(0)), widened(op, op.x(1))
    made = _CONV[spatial](x, weight, strides, pads, dilations, op.attr("group", 1))
    return narrowed(op, _with_bias(op, op.emit(made)))


def _conv_transpose(op: Op) -> Result:
    spatial = op.rank() - 2
    if spatial not in _TRANSPOSED:
        op.refuse(f"over {spatial} dims")
    kernel = [_fixed(op, extent) for extent in op.shape(1)[2:]]
    strides = op.attr("strides", None) or [1] * spatial
    dilations = op.attr("dilations", None) or [1] * spatial
    extra = op.attr("output_padding", None) or [0] * spatial
    pads = _transposed_pads(op, kernel, strides, dilations, extra)
    x, weight = widened(op, op.x(0)), widened(op, op.x(1))
    made = _TRANSPOSED[spatial](x, weight, strides, pads, extra, dilations, op.attr("group", 1))
    return narrowed(op, _with_bias(op, op.emit(made)))


def _transposed_pads(
    op: Op, kernel: list[int], strides: list[int], dilations: list[int], extra: list[int]
) -> list[int]:
    wanted, auto = op.attr("output_shape", None), op.attr("auto_pad", "NOTSET")
    spatial = op.shape()[2:]
    if wanted is None and auto in ("NOTSET", "VALID"):
        return (op.attr("pads", None) if auto == "NOTSET" else None) or [0] * (2 * len(kernel))
    if not all(isinstance(extent, int) for extent in spatial):
        op.refuse("its padding depends on a dynamic dim")
    wanted = wanted or [extent * stride for extent, stride in zip(spatial, strides, strict=True)]
    totals = [
        stride * (extent - 1) + added + (size - 1) * dilation + 1 - goal
        for extent, size, stride, dilation, added, goal in zip(
            spatial, kernel, strides, dilations, extra, wanted[-len(kernel) :], strict=True
        )
    ]
    if any(total < 0 for total in totals):
        op.refuse("its output_shape is larger than what it can fill")
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return more + less if auto == "SAME_LOWER" else less + more


def _with_bias(op: Op, product: relax.Expr) -> relax.Expr:
    if not op.has(2):
        return product
    bias = op.reshape(widened(op, op.x(2)), [1, op.shape(2)[0], *[1] * (op.rank() - 2)])
    return op.emit(relax.op.add(product, bias))


def _fixed(op: Op, extent: Any) -> int:
    if not isinstance(extent, int):
        op.refuse("the size of its kernel is a dynamic dim")
    return extent


def _col2im(op: Op) -> Result:
    """Windows laid back to where they were cut: each element is the sum of those that cover it."""
    image, kernel = op.integers("image_shape", 1) or [], op.integers("block_shape", 2) or []
    count = len(kernel)
    strides, dilations = op.attr("strides", None) or [1] * count, op.attr("dilations", None) or [1] * count
    pads = op.attr("pads", None) or [0] * (2 * count)
    cells = math.prod(kernel)
    windows = [
        (image[axis] + pads[axis] + pads[count + axis] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
        for axis in range(count)
    ]

    def compute(data: te.Tensor) -> te.Tensor:
        over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(kernel)]

        def element(*index: Any) -> Any:
            cell, window, covers = tirx.IntImm("int64", 0), tirx.IntImm("int64", 0), []
            for axis, i in enumerate(index[2:]):
                start = i + pads[axis] - over[axis] * dilations[axis]
                place = tirx.floordiv(start, strides[axis])
                covers += [tirx.EQ(place * strides[axis], start), place >= 0, place < windows[axis]]
                cell = cell * kernel[axis] + over[axis]
                window = window * windows[axis] + tirx.max(tirx.min(place, windows[axis] - 1), 0)
            value = data(index[0], index[1] * cells + cell, window)
            return te.sum(tirx.if_then_else(tirx.all(*covers), value, tirx.const(0, data.dtype)), axis=over)

        shape = [data.shape[0], tirx.floordiv(data.shape[1], cells), *image]
        return te.compute(shape, element, name="T_col2im")

    return narrowed(op, op.te(compute, widened(op, op.x())))


EMIT: dict[str, Emit] = {"Col2Im": _col2im, "Conv": _conv, "ConvTranspose": _conv_transpose}
