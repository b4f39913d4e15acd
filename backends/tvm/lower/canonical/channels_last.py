"""Convolutions with their channels last, where vectors lie along them.

conv(x[n, c, ...]) = permute(conv(permute(x))) with the kernel as [o, ..., i]; the permutations between one convolution
and the next cancel (permutes.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from backends.tvm.lower.canonical.permutes import channels_first, channels_last
from backends.tvm.lower.canonical.rewriter import Rewriter, mutator, settle
from backends.tvm.lower.relax_tools import constant, dtype_of, op_name

DIMS = {"relax.nn.conv1d": 1, "relax.nn.conv2d": 2, "relax.nn.conv3d": 3}
DATA = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
_KERNEL = {1: "OWI", 2: "OHWI", 3: "ODHWI"}
_MAKE = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}


def convolution(
    call: relax.Call, data: relax.Expr, kernel: relax.Expr, padding: list[Any], dtype: str = "float32"
) -> relax.Expr:
    """The same one, of operands that have their channels last."""
    dims, attrs = DIMS[op_name(call) or ""], call.attrs
    last = DATA[dims][1]
    return _MAKE[dims](
        data,
        kernel,
        list(attrs.strides),
        padding,
        list(attrs.dilation),
        int(attrs.groups),
        last,
        _KERNEL[dims],
        last,
        dtype,
    )


def convolutions_channels_last(mod: tvm.IRModule) -> tvm.IRModule:
    return settle(mod, _ChannelsLast)


@mutator
class _ChannelsLast(Rewriter):
    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        dims = DIMS.get(op_name(call) or "")
        if dims is None or call.attrs.data_layout != DATA[dims][0] or dtype_of(call) != "float32":
            return None
        data, kernel = call.args
        rank = dims + 2
        turned = self.emit(relax.op.permute_dims(data, channels_last(rank)))
        made = convolution(call, turned, self._kernel(kernel, channels_last(rank)), list(call.attrs.padding))
        return relax.op.permute_dims(self.emit(made), channels_first(rank))

    def _kernel(self, kernel: relax.Expr, axes: list[int]) -> relax.Expr:
        value = constant(kernel)
        if value is None:
            return self.emit(relax.op.permute_dims(kernel, axes))
        return relax.const(np.ascontiguousarray(value.transpose(axes)), "float32")
