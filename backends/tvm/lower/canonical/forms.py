"""Operators in the form that there is a kernel for.

- softmax over another axis than the last: that axis is moved to the end.
- group_norm: with the elements of a group as one row it is a layer_norm, and a scale and bias for each channel.
- conv_transpose: every input element spreads into a window, product = x[n*h*w, i] w[i, window*o], and the windows that
  overlap are added up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from backends.tvm.explain import Explain
from backends.tvm.lower.canonical.permutes import channels_first, channels_last
from backends.tvm.lower.canonical.rewriter import Rewriter, mutator, settle
from backends.tvm.lower.kernels.call import MAY_GROW, DeclinedError, call_in_words
from backends.tvm.lower.kernels.rows import normalized
from backends.tvm.lower.relax_tools import constant, dtype_of, fixed, is_float32, op_name, shape_of
from backends.tvm.target import Machine

_CHANNELS_FIRST = ("NCW", "NCHW", "NCDHW")


def to_known_forms(mod: tvm.IRModule, machine: Machine, explain: Explain) -> tvm.IRModule:
    return settle(mod, lambda module: _Forms(module, machine.vector_lanes, explain))


@mutator
class _Forms(Rewriter):
    def __init__(self, mod: tvm.IRModule, lanes: int, explain: Explain) -> None:
        super().__init__(mod)
        self.lanes = lanes
        self.explain = explain

    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        name = op_name(call)
        try:
            if name in ("relax.nn.softmax", "relax.nn.log_softmax"):
                return self._softmax(call)
            if name == "relax.nn.group_norm":
                return self._group_norm(call)
            if name is not None and name.startswith("relax.nn.conv") and name.endswith("_transpose"):
                return self._conv_transpose(call)
        except DeclinedError as reason:
            self.explain.decline(call_in_words(call), str(reason))
        return None

    def _softmax(self, call: relax.Call) -> relax.Expr | None:
        rank = call.ty.ndim
        axis = int(call.attrs.axis) % rank
        if axis == rank - 1:
            return None
        order = [*[place for place in range(rank) if place != axis], axis]
        turned = self.emit(relax.op.permute_dims(call.args[0], order))
        make = relax.op.nn.softmax if op_name(call) == "relax.nn.softmax" else relax.op.nn.log_softmax
        return relax.op.permute_dims(self.emit(make(turned, -1)), [int(place) for place in np.argsort(order)])

    def _group_norm(self, call: relax.Call) -> relax.Expr | None:
        data, scale, bias = call.args
        shape, attrs, rank = shape_of(data), call.attrs, call.ty.ndim
        groups = int(attrs.num_groups)
        spatial = [int(axis) % rank for axis in attrs.axes]
        if not is_float32(data, scale, bias):
            raise DeclinedError(f"{dtype_of(data)} is not float32")
        if int(attrs.channel_axis) % rank != 1 or spatial != list(range(2, rank)):
            raise DeclinedError("its channels are not the second axis")
        length: Any = tirx.IntImm("int64", 1)
        for extent in (tirx.floordiv(shape[1], groups), *shape[2:]):
            length = length * extent
        rows = self.emit(relax.op.reshape(data, (shape[0], groups, fixed(length))))
        normal = self.emit(self._normalized(rows, float(attrs.epsilon)))
        back = self.emit(relax.op.reshape(normal, tuple(shape)))
        scaled = self.emit(relax.op.multiply(back, self._by_channel(scale, rank)))
        return relax.op.add(scaled, self._by_channel(bias, rank))

    def _normalized(self, rows: relax.Expr, epsilon: float) -> relax.Expr:
        """Rows with mean 0 and variance 1."""

        def compute(a: te.Tensor) -> te.Tensor:
            return normalized(a, epsilon, self.lanes)

        return self.builder_.call_te(
            compute, rows, primfunc_name_hint="group_norm", primfunc_attrs={"op_pattern": MAY_GROW}
        )

    def _by_channel(self, numbers: relax.Expr, rank: int) -> relax.Expr:
        shape = [1, shape_of(numbers)[0], *[1] * (rank - 2)]
        value = constant(numbers)
        if value is not None:
            return relax.const(value.reshape(shape), "float32")
        return self.emit(relax.op.reshape(numbers, shape))

    def _conv_transpose(self, call: relax.Call) -> relax.Expr | None:
        data, kernel = call.args
        weight, attrs, rank = constant(kernel), call.attrs, call.ty.ndim
        if weight is None:
            raise DeclinedError("its weights are not constant")
        if not is_float32(data, kernel):
            raise DeclinedError(f"{dtype_of(data)} is not float32")
        if int(attrs.groups) != 1 or attrs.data_layout not in _CHANNELS_FIRST:
            raise DeclinedError("it has groups, or its channels are not the second axis")
        inputs, outputs, *window = weight.shape
        spread = np.moveaxis(weight, 1, -1).reshape(inputs, -1)
        turned = self.emit(relax.op.permute_dims(data, channels_last(rank)))
        products = self.emit(relax.op.matmul(turned, relax.const(np.ascontiguousarray(spread), "float32")))
        batch, *extents, _ = shape_of(turned)
        windows = self.emit(relax.op.reshape(products, (batch, *extents, *window, outputs)))
        return relax.op.permute_dims(self.emit(self._overlapped(windows, call, window)), channels_first(rank))

    def _overlapped(self, windows: relax.Expr, call: relax.Call, window: list[int]) -> relax.Expr:
        attrs, dims = call.attrs, len(window)
        strides, steps = [int(step) for step in attrs.strides], [int(step) for step in attrs.dilation]
        pads, extra = [int(pad) for pad in attrs.padding], [int(more) for more in attrs.output_padding]
        pads = pads if len(pads) == 2 * dims else pads * 2

        def compute(given: te.Tensor) -> te.Tensor:
            extents = given.shape[1 : 1 + dims]
            sizes = [
                fixed((n - 1) * stride - pads[axis] - pads[dims + axis] + (size - 1) * step + 1 + more)
                for axis, (n, stride, size, step, more) in enumerate(
                    zip(extents, strides, window, steps, extra, strict=True)
                )
            ]
            over = [te.reduce_axis((0, size), name=f"k{axis}") for axis, size in enumerate(window)]

            def element(n: Any, *i: Any) -> Any:
                *places, channel = i
                reached = [
                    place + pads[axis] - offset * step
                    for axis, (place, offset, step) in enumerate(zip(places, over, steps, strict=True))
                ]
                from_here = [tirx.floordiv(place, stride) for place, stride in zip(reached, strides, strict=True)]
                hit = [
                    tirx.all(place >= 0, tirx.EQ(place, source * stride), source < extent)
                    for place, stride, source, extent in zip(reached, strides, from_here, extents, strict=True)
                ]
                value = given(n, *from_here, *over, channel)
                return te.sum(tirx.if_then_else(tirx.all(*hit), value, tirx.const(0, "float32")), axis=over)

            return te.compute((given.shape[0], *sizes, given.shape[-1]), element, name="overlapped")

        return self.builder_.call_te(
            compute, windows, primfunc_name_hint="overlapped", primfunc_attrs={"op_pattern": MAY_GROW}
        )
