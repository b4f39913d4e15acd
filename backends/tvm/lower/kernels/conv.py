"""Convolutions with channels last and constant weights, over one, two or three dims.

One register tile is a stretch of a line of the result by some of its channels; the weights lie as
[panels, kernel..., inputs, tile columns], read from front to back. Groups are a loop of their own around that.
Depthwise convolutions have no sum over inputs: there the lanes are the channels (schedule/depthwise.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.lower.kernels.call import DeclinedError, Lowering
from backends.tvm.lower.kernels.matmul import TILE, fitting, multiple_of, round_up
from backends.tvm.lower.relax_tools import constant, fixed, is_float32, known, shape_of
from backends.tvm.lower.tiles import Tile, ceil_div, pick_tile

DEPTHWISE = "plumbline.depthwise"
_LAST = ("NWC", "NHWC", "NDHWC")


@dataclass(frozen=True)
class Window:
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    def at(self, places: Any, offsets: Any) -> list[Any]:
        """Where in the padded data the element of a window is."""
        return [
            place * stride + offset * step
            for place, offset, stride, step in zip(places, offsets, self.strides, self.dilations, strict=True)
        ]


def window_of(attrs: Any, kernel: list[int]) -> Window:
    count = len(kernel)
    pads = [int(pad) for pad in attrs.padding]
    pads = pads if len(pads) == 2 * count else pads * 2
    strides, dilations = [int(step) for step in attrs.strides], [int(step) for step in attrs.dilation]
    return Window(kernel, strides, dilations, pads[:count], pads[count:])


def conv(at: Lowering, call: relax.Call) -> relax.Expr:
    data, kernel = call.args
    weight = constant(kernel)
    if weight is None:
        raise DeclinedError("its weights are not constant")
    if not is_float32(data, kernel, call) or call.attrs.data_layout not in _LAST:
        raise DeclinedError("it is not float32 with channels last")
    groups, inputs, outputs = int(call.attrs.groups), shape_of(data)[-1], weight.shape[0]
    window = window_of(call.attrs, [int(size) for size in weight.shape[1:-1]])
    if groups == inputs == outputs and weight.shape[-1] == 1 and inputs % at.machine.vector_lanes == 0:
        return _depthwise(at, call, weight, window)
    return _tiled(at, call, weight, window, groups)


def padded(x: te.Tensor, window: Window) -> te.Tensor:
    """The data with its border of zeros; channels and batch have none."""
    return bordered(x, [0, *window.before, 0], [0, *window.after, 0], 0.0)


def bordered(x: te.Tensor, low: list[int], high: list[int], value: float) -> te.Tensor:
    if not any(low) and not any(high):
        return x
    shape = [fixed(size + before + after) for size, before, after in zip(x.shape, low, high, strict=True)]

    def element(*i: tirx.Var) -> Any:
        inside = [
            test
            for place, before, after, size in zip(i, low, high, x.shape, strict=True)
            for test in ([place >= before] if before else []) + ([place < size + before] if after else [])
        ]
        place = [index - before for index, before in zip(i, low, strict=True)]
        return tirx.if_then_else(tirx.all(*inside), x(*place), tirx.const(value, x.dtype))

    return te.compute(shape, element, name="padded")


def _tiled(at: Lowering, call: relax.Call, weight: np.ndarray[Any, Any], window: Window, groups: int) -> relax.Expr:
    data, kernel = call.args
    outputs, inputs = weight.shape[0], weight.shape[-1]
    share = outputs // groups
    line = shape_of(call)[-2]
    tile = fitting(line, pick_tile(known(line), share, at.machine))
    if groups > 1:
        tile = Tile(tile.rows, _dividing(share, tile.columns, at.machine.vector_lanes))
    packed = at.packed((kernel, "conv", tile.columns), lambda: _pack(weight, tile.columns))

    def compute(x: te.Tensor, w: te.Tensor, shape: Sequence[Any]) -> te.Tensor:
        batch, *sizes, _ = map(fixed, shape)
        source = padded(x, window)
        over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(window.kernel)]
        channel = te.reduce_axis((0, inputs), name="c")
        exact = multiple_of(sizes[-1]) % tile.rows == 0

        def element(n: Any, *i: Any) -> Any:
            *places, column = i
            if not exact:
                places[-1] = tirx.min(places[-1], sizes[-1] - 1)
            own = channel if groups == 1 else column // share * inputs + channel
            value = source(n, *window.at(places, over), own)
            return te.sum(
                value * w(column // tile.columns, *over, channel, column % tile.columns), axis=[*over, channel]
            )

        covered = (batch, *sizes[:-1], round_up(sizes[-1], tile.rows), round_up(outputs, tile.columns))
        tiles = te.compute(covered, element, name="tiles", attrs={TILE: [tile.rows, tile.columns]})
        return te.compute((batch, *sizes, outputs), lambda *i: tiles(*i), name="conv")

    return at.call(compute, data, packed, call.ty.shape, name="conv")


def _dividing(share: int, columns: int, lanes: int) -> int:
    """Columns of a tile that does not reach into the next group."""
    for count in range(columns // lanes, 0, -1):
        if share % (count * lanes) == 0:
            return count * lanes
    raise DeclinedError(f"{share} outputs of a group are no multiple of the vector width {lanes}")


def _pack(weight: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """[o, kernel..., i] as [panels, kernel..., i, columns]."""
    outputs = weight.shape[0]
    panels = ceil_div(outputs, columns)
    filled = np.zeros((panels * columns, *weight.shape[1:]), weight.dtype)
    filled[:outputs] = weight
    parts = filled.reshape(panels, columns, *weight.shape[1:])
    return np.ascontiguousarray(np.moveaxis(parts, 1, -1))


def _depthwise(at: Lowering, call: relax.Call, weight: np.ndarray[Any, Any], window: Window) -> relax.Expr:
    data, kernel = call.args
    lanes, channels = at.machine.vector_lanes, weight.shape[0]
    columns = 2 * lanes if channels % (2 * lanes) == 0 else lanes
    line = known(shape_of(call)[-2])
    # Few enough rows for their sums, and what they share of a line, to stay in registers.
    most = min(14, (at.machine.registers - 4) // (columns // lanes))
    whole = [rows for rows in range(1, most + 1) if line is not None and line % rows == 0]
    rows = max(whole) if whole and max(whole) >= min(4, line or 4) else min(7, most)
    rows = fitting(shape_of(call)[-2], Tile(rows, columns)).rows
    packed = at.packed((kernel, "depthwise"), lambda: np.ascontiguousarray(np.moveaxis(weight[..., 0], 0, -1)))
    unrolled = math.prod(window.kernel) <= 9

    def compute(x: te.Tensor, w: te.Tensor, shape: Sequence[Any]) -> te.Tensor:
        batch, *sizes, _ = map(fixed, shape)
        source = padded(x, window)
        over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(window.kernel)]
        exact = multiple_of(sizes[-1]) % rows == 0

        def element(n: Any, *i: Any) -> Any:
            *places, channel = i
            if not exact:
                places[-1] = tirx.min(places[-1], sizes[-1] - 1)
            return te.sum(source(n, *window.at(places, over), channel) * w(*over, channel), axis=over)

        covered = (batch, *sizes[:-1], round_up(sizes[-1], rows), channels)
        tiles = te.compute(covered, element, name="tiles", attrs={DEPTHWISE: [rows, columns, int(unrolled)]})
        return te.compute((batch, *sizes, channels), lambda *i: tiles(*i), name="conv")

    return at.call(compute, data, packed, call.ty.shape, name="depthwise_conv")
