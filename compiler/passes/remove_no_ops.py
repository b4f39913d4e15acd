"""f(x) = x, for the arguments with which an operator hands its input on: bit by bit, or not at all.

x + 0.0 stays, because it turns -0.0 into 0.0; x - 0.0 and x * 1 do not change a bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import (
    LocalRewrite,
    constant,
    dims,
    input_of,
    ints,
    is_constant,
    made_by,
    rank,
    same_shape,
    small_ints,
    static_shape,
    wanted,
)

_END = 2**31 - 1  # from here on an end of a Slice means "to the last"
_SCALAR = 1024  # elements; larger constants are weights, not neutral elements


class RemoveNoOps(LocalRewrite):
    """Users of the result take the input; where the result is an output, an Identity stays."""

    def visit(self, node: ir.Node) -> None:
        find = _NO_OPS.get(node.op_type) if node.domain == "" else None
        if find is None or not node.inputs or not node.outputs:
            return
        kept = find(node)
        if kept is not None and all(not wanted(value) for value in node.outputs[1:]):
            self.edit.bypass(node, kept)


def _first_if(holds: bool, node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if holds else None


def _cast(node: ir.Node) -> ir.Value | None:
    source = node.inputs[0]
    to = node.attributes.get_int("to", 0)
    return _first_if(source is not None and source.dtype is not None and source.dtype == to, node)


def _cast_like(node: ir.Node) -> ir.Value | None:
    source, like = node.inputs[0], input_of(node, 1)
    known = source is not None and like is not None and source.dtype is not None
    return _first_if(known and source.dtype == like.dtype, node)  # type: ignore[union-attr]


def _transpose(node: ir.Node) -> ir.Value | None:
    perm = node.attributes.get_ints("perm", None)
    if perm is None:
        return _first_if(rank(node.inputs[0]) in (0, 1), node)
    return _first_if(list(perm) == list(range(len(perm))), node)


def _reshape(node: ir.Node) -> ir.Value | None:
    """To the shape that it has. Without allowzero a 0 keeps a dim, and one dim may be left open."""
    if same_shape(node.inputs[0], node.outputs[0]):
        return node.inputs[0]
    known, target = dims(node.inputs[0]), small_ints(input_of(node, 1))
    if known is None or target is None or len(known) != len(target) or node.attributes.get_int("allowzero", 0) != 0:
        return None
    open_dims = sum(1 for dim, size in zip(known, target, strict=True) if size == -1 and dim != -1)
    fits = all(size in (0, -1) or size == dim for dim, size in zip(known, target, strict=True))
    return _first_if(fits and open_dims <= 1, node)


def _same_shape(node: ir.Node) -> ir.Value | None:
    return _first_if(same_shape(node.inputs[0], node.outputs[0]), node)


def _expand(node: ir.Node) -> ir.Value | None:
    target, known = small_ints(input_of(node, 1)), rank(node.inputs[0])
    ones = target is not None and known is not None and len(target) <= known and all(size == 1 for size in target)
    return node.inputs[0] if ones else _same_shape(node)


def _slice(node: ir.Node) -> ir.Value | None:
    starts, ends = ints(node, "starts", 1), ints(node, "ends", 2)
    steps = small_ints(input_of(node, 4)) if input_of(node, 4) is not None else [1] * len(starts or ())
    if starts is None or ends is None or steps is None or any(step != 1 for step in steps):
        # A step can turn the order around and keep the shape.
        return None
    if same_shape(node.inputs[0], node.outputs[0]):
        return node.inputs[0]
    return _first_if(all(s == 0 for s in starts) and all(e >= _END for e in ends), node)


def _single(node: ir.Node) -> ir.Value | None:
    return _first_if(len(node.inputs) == 1, node)


def _split(node: ir.Node) -> ir.Value | None:
    return _first_if(len(node.outputs) == 1 and same_shape(node.inputs[0], node.outputs[0]), node)


def _pad(node: ir.Node) -> ir.Value | None:
    pads = ints(node, "pads", 1)
    return _first_if(pads is not None and not any(pads), node)


def _dropout(node: ir.Node) -> ir.Value | None:
    mode = input_of(node, 2)
    value = constant(mode)
    return _first_if(mode is None or (value is not None and not value.any()), node)


def _clip(node: ir.Node) -> ir.Value | None:
    bounded = input_of(node, 1) is not None or input_of(node, 2) is not None or node.attributes
    return _first_if(not bounded, node)


def _tile(node: ir.Node) -> ir.Value | None:
    repeats = small_ints(input_of(node, 1))
    return _first_if(repeats is not None and all(count == 1 for count in repeats), node)


def _unsqueeze(node: ir.Node) -> ir.Value | None:
    return _first_if(ints(node, "axes", 1) == [], node)


def _once(node: ir.Node) -> ir.Value | None:
    """f(f(x)) = f(x)."""
    return _first_if(made_by(node.inputs[0], node.op_type) is not None, node)


def _back(node: ir.Node) -> ir.Value | None:
    """f(f(x)) = x."""
    inner = made_by(node.inputs[0], node.op_type)
    return inner.inputs[0] if inner is not None else None


def _flatten(node: ir.Node) -> ir.Value | None:
    return _first_if(node.attributes.get_int("axis", 1) in (1, -1) and rank(node.inputs[0]) == 2, node)


def _neutral(is_neutral: Callable[[np.ndarray], np.ndarray], *, either: bool) -> Callable[[ir.Node], ir.Value | None]:
    """A constant that changes no bit of the other operand, nor its shape."""

    def find(node: ir.Node) -> ir.Value | None:
        for index in (1, 0) if either else (1,):
            value, kept = input_of(node, index), input_of(node, 1 - index)
            if kept is None or value is None or not is_constant(value):
                continue
            assert value.const_value is not None
            if value.dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128, ir.DataType.STRING):
                continue
            if value.const_value.size > _SCALAR or not bool(np.all(is_neutral(value.const_value.numpy()))):
                continue
            if _keeps_shape(value, kept):
                return kept
        return None

    return find


def _keeps_shape(small: ir.Value, kept: ir.Value) -> bool:
    sizes, other = static_shape(small), dims(kept)
    if sizes is None or other is None or len(sizes) > len(other):
        return False
    return all(size in (1, dim) for size, dim in zip(reversed(sizes), reversed(other), strict=False))


def _adds_nothing(array: np.ndarray) -> np.ndarray:
    whole = array.dtype.kind in "iub"
    return np.asarray((array == 0) & (whole or np.signbit(array.astype(np.float64))))


def _subtracts_nothing(array: np.ndarray) -> np.ndarray:
    whole = array.dtype.kind in "iub"
    return np.asarray((array == 0) & (whole or ~np.signbit(array.astype(np.float64))))


def _is_one(array: np.ndarray) -> np.ndarray:
    return np.asarray(array == 1)


def _is_true(array: np.ndarray) -> np.ndarray:
    return np.asarray(array == True)  # noqa: E712 - element by element


def _is_false(array: np.ndarray) -> np.ndarray:
    return np.asarray(array == False)  # noqa: E712


def _where(node: ir.Node) -> ir.Value | None:
    """A condition that is known picks one side."""
    condition = constant(node.inputs[0])
    if condition is None or condition.size == 0 or condition.size > _SCALAR:
        return None
    picked = input_of(node, 1) if condition.all() else input_of(node, 2) if not condition.any() else None
    return picked if picked is not None and same_shape(picked, node.outputs[0]) else None


_NO_OPS: dict[str, Callable[[ir.Node], ir.Value | None]] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Expand": _expand,
    "Slice": _slice,
    "Split": _split,
    "Concat": _single,
    "Sum": _single,
    "Max": _single,
    "Min": _single,
    "Mean": _single,
    "Pad": _pad,
    "Dropout": _dropout,
    "Clip": _clip,
    "Tile": _tile,
    "Add": _neutral(_adds_nothing, either=True),
    "Sub": _neutral(_subtracts_nothing, either=False),
    "Mul": _neutral(_is_one, either=True),
    "Div": _neutral(_is_one, either=False),
    "Pow": _neutral(_is_one, either=False),
    "And": _neutral(_is_true, either=True),
    "Or": _neutral(_is_false, either=True),
    "Where": _where,
    **dict.fromkeys(("Relu", "Abs", "Ceil", "Floor", "Round", "Sign"), _once),
    **dict.fromkeys(("Neg", "Not", "BitwiseNot"), _back),
}
