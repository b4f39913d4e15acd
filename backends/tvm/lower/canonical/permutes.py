"""permute_dims is moved towards the outputs until it meets one that undoes it.

f(permute(x)) = permute(f(x)) for everything that works element by element; a reduction, a concatenation or a pooling
names its axes anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relax

from backends.tvm.lower.canonical.operators import ELEMENTWISE, REDUCTIONS, is_unary
from backends.tvm.lower.canonical.rewriter import Rewriter, mutator, settle
from backends.tvm.lower.relax_tools import constant, op_name, shape_of

_LAYOUTS = {3: ("NCW", "NWC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
_POOLS = {f"relax.nn.{kind}_pool{dims}d": f"{kind}_pool{dims}d" for kind in ("max", "avg") for dims in (1, 2, 3)}


def sink_permutes(mod: tvm.IRModule) -> tvm.IRModule:
    return settle(mod, _SinkPermutes)


def permutation(call: relax.Call) -> list[int]:
    rank = call.args[0].ty.ndim
    axes = call.attrs.axes
    return list(range(rank))[::-1] if axes is None else [int(axis) % rank for axis in axes]


def channels_first(rank: int) -> list[int]:
    """The permutation from [n, ..., c] to [n, c, ...]."""
    return [0, rank - 1, *range(1, rank - 1)]


def channels_last(rank: int) -> list[int]:
    return [0, *range(2, rank), 1]


@mutator
class _SinkPermutes(Rewriter):
    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        name = op_name(call)
        if name == "relax.permute_dims":
            return self._permute(call)
        if is_unary(call):
            return self._unary(call)
        if name in ELEMENTWISE:
            return self._elementwise(call)
        if name in REDUCTIONS:
            return self._reduction(call)
        if name == "relax.concat":
            return self._concat(call)
        if name in _POOLS:
            return self._pool(call)
        return None

    def _under(self, expr: relax.Expr) -> tuple[relax.Expr, list[int]] | None:
        made = self.source(expr)
        return (made.args[0], permutation(made)) if op_name(made) == "relax.permute_dims" else None

    def _permute(self, call: relax.Call) -> relax.Expr | None:
        axes = permutation(call)
        if axes == list(range(len(axes))):
            return call.args[0]
        value = constant(call.args[0])
        if value is not None:
            return relax.const(np.ascontiguousarray(np.transpose(value, axes)), str(value.dtype))
        below = self._under(call.args[0])
        if below is not None:
            inner, first = below
            both = [first[axis] for axis in axes]
            return inner if both == list(range(len(both))) else relax.op.permute_dims(inner, both)
        shape = shape_of(call.args[0])
        long = [axis for axis in axes if shape[axis] != 1]
        if long == sorted(long):  # only axes of one element move
            return relax.op.reshape(call.args[0], call.ty.shape)
        return None

    def _unary(self, call: relax.Call) -> relax.Expr | None:
        below = self._under(call.args[0])
        if below is None:
            return None
        made = self.emit(relax.Call(call.op, [below[0], *call.args[1:]], call.attrs))
        return relax.op.permute_dims(made, below[1])

    def _elementwise(self, call: relax.Call) -> relax.Expr | None:
        found = [self._under(operand) for operand in call.args]
        axes = next((below[1] for below in found if below is not None), None)
        if axes is None or len(axes) != call.ty.ndim:
            return None
        operands: list[relax.Expr] = []
        for operand, below in zip(call.args, found, strict=True):
            if below is not None and below[1] == axes:
                operands.append(below[0])
                continue
            turned = self._constant_before(operand, axes)
            if turned is None:
                return None
            operands.append(turned)
        return relax.op.permute_dims(self.emit(relax.Call(call.op, operands, call.attrs)), axes)

    def _constant_before(self, operand: relax.Expr, axes: Sequence[int]) -> relax.Expr | None:
        """The constant that, permuted, is this one."""
        value = constant(operand)
        if value is None or value.ndim > len(axes):
            return None
        if value.ndim == 0:
            return operand
        full = value.reshape([1] * (len(axes) - value.ndim) + list(value.shape))
        back = [int(place) for place in np.argsort(axes)]
        return relax.const(np.ascontiguousarray(full.transpose(back)), str(value.dtype))

    def _reduction(self, call: relax.Call) -> relax.Expr | None:
        below = self._under(call.args[0])
        if below is None or call.attrs.axis is None:
            return None
        inner, axes = below
        reduced = [axes[int(axis) % len(axes)] for axis in call.attrs.axis]
        make = getattr(relax.op, str(op_name(call)).removeprefix("relax."))
        made = self.emit(make(inner, sorted(reduced), call.attrs.keepdims))
        if call.attrs.keepdims:
            return relax.op.permute_dims(made, axes)
        left = [axis for axis in axes if axis not in reduced]
        order = [sorted(left).index(axis) for axis in left]
        return relax.op.permute_dims(made, order) if len(order) > 1 else made

    def _concat(self, call: relax.Call) -> relax.Expr | None:
        parts = call.args[0]
        parts = self.source(parts) if isinstance(parts, relax.Var) else parts
        found = [self._under(part) for part in parts.fields] if isinstance(parts, relax.Tuple) else []
        if not found or any(below is None for below in found) or call.attrs.axis is None:
            return None
        lists = [below[1] for below in found if below is not None]
        if any(axes != lists[0] for axes in lists):
            return None
        axis = lists[0][int(call.attrs.axis) % len(lists[0])]
        made = self.emit(relax.op.concat([below[0] for below in found if below is not None], axis))
        return relax.op.permute_dims(made, lists[0])

    def _pool(self, call: relax.Call) -> relax.Expr | None:
        below, rank = self._under(call.args[0]), call.args[0].ty.ndim
        first, last = _LAYOUTS[rank]
        attrs = call.attrs
        if below is None or below[1] != channels_first(rank) or attrs.layout != first:
            return None
        make = getattr(relax.op.nn, _POOLS[str(op_name(call))])
        made = make(
            below[0],
            list(attrs.pool_size),
            list(attrs.strides),
            list(attrs.padding),
            list(attrs.dilation),
            attrs.ceil_mode,
            attrs.count_include_pad,
            last,
            last,
        )
        return relax.op.permute_dims(self.emit(made), channels_first(rank))
