"""(x * a) * b = x * (a b) and (x + a) + b = x + (a + b), for constants; x / a and x - a are of the same kinds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_constant, is_op, rank

_KINDS = {"Mul": "Mul", "Div": "Mul", "Add": "Add", "Sub": "Add"}
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class MergeAffine(LocalRewrite):
    """Two in a row become one, unless the first has other users or the constant would grow."""

    def visit(self, node: ir.Node) -> None:
        outer = _split(node)
        if outer is None:
            return
        first = outer[0].producer()
        inner = _split(first) if first is not None and _KINDS.get(first.op_type) == _KINDS[node.op_type] else None
        if first is None or inner is None:
            return
        source, one = inner
        if len(outer[0].uses()) > 1 or outer[0].is_graph_output():
            self.decline(node, f"the result of the {first.op_type} before it has other users")
            return
        both = _joined(_KINDS[node.op_type], _normal(first, one), _normal(node, outer[1]))
        if both is None:
            self.decline(node, "a sum that is cut by rounding, and then taken back, is no sum")
            return
        dtype = node.outputs[0].dtype
        assert dtype is not None
        with np.errstate(over="ignore", under="ignore"):
            narrow = both.astype(dtype.numpy())
        if both.size > max(one.size, outer[1].size) or not np.isfinite(narrow).all() or _vanished(both, narrow):
            self.decline(node, "the two constants cannot be put into one")
            return
        if rank(source) is None or both.ndim > (rank(source) or 0):
            return
        self.edit.become(
            node, _KINDS[node.op_type], [source, self.edit.constant(narrow, node.outputs[0])], origins=[first]
        )


def _split(node: ir.Node) -> tuple[ir.Value, Array] | None:
    """What varies, and the constant."""
    if not is_op(node, *_KINDS) or node.outputs[0].dtype not in _FLOATS:
        return None
    for index in (0, 1) if node.op_type in ("Mul", "Add") else (0,):
        varies, other = node.inputs[index], input_of(node, 1 - index)
        array = constant(other)
        if varies is not None and array is not None and not is_constant(varies):
            return varies, array
    return None


def _normal(node: ir.Node, array: Array) -> Array:
    wide = array.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / wide if node.op_type == "Div" else -wide if node.op_type == "Sub" else wide)


def _joined(kind: str, one: Array, other: Array) -> Array | None:
    """None for numbers of both signs: x + 2**23 - 2**23 is how some graphs round."""
    with np.errstate(all="ignore"):
        if kind == "Add" and bool(np.any(one * other < 0)):
            return None
        return np.asarray(one * other if kind == "Mul" else one + other)


def _vanished(wide: Array, narrow: Array) -> bool:
    return bool(np.any((wide != 0) & (np.abs(narrow) < np.finfo(narrow.dtype).tiny)))
