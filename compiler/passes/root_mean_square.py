"""x / sqrt(mean(x * x) + epsilon), in whatever way it is written: what two normalisations have in common."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.fusion import FLOATS, UnfitError, hold, is_number, operands, other, scalar, user_of
from compiler.passes.rewriting import dims, ints, made_by, rank


@dataclass(frozen=True)
class Normalized:
    """`value` is x divided by its root mean square over the axes from `axis` to the last; `nodes` compute it."""

    x: ir.Value
    axis: int  # negative
    epsilon: float
    value: ir.Value
    nodes: tuple[ir.Node, ...]

    @property
    def stash_type(self) -> int:
        """What the operators compute in: at least float32, and no less than the graph."""
        wide = ir.DataType.DOUBLE if self.x.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
        return wide.value


def normalized(mean: ir.Node) -> Normalized | None:
    """What stands around the mean of the squares; None where it is no such mean."""
    square = made_by(mean.inputs[0], "Pow", "Mul")
    x = square.inputs[0] if square is not None else None
    if square is None or x is None or not _squares(square):
        return None
    shifted = user_of(mean.outputs[0], "Add")
    epsilon = scalar(other(shifted, mean.outputs[0])) if shifted is not None else None
    root = user_of(shifted.outputs[0], "Sqrt", "Pow") if shifted is not None else None
    divided = _divided(x, root) if root is not None else None
    if shifted is None or epsilon is None or root is None or divided is None:
        return None
    hold(x.dtype in FLOATS, f"'{x.name}' is not known to be a float")
    axis = last_axes(mean, x)
    if axis is None:
        raise UnfitError("its mean is not known to be over the last axes")
    nodes = (square, mean, shifted, root, *divided)
    return Normalized(x, axis, epsilon, divided[-1].outputs[0], nodes)


def _squares(node: ir.Node) -> bool:
    return is_number(node.inputs[1], 2) if node.op_type == "Pow" else node.inputs[0] is node.inputs[1]


def _divided(x: ir.Value, root: ir.Node) -> tuple[ir.Node, ...] | None:
    """The nodes from the root of the mean, or its reciprocal, to the quotient."""
    value = root.outputs[0]
    nodes: tuple[ir.Node, ...] = ()
    if root.op_type == "Sqrt":
        quotient = user_of(value, "Div", "Reciprocal")
        if quotient is None or quotient.inputs[0] is x:
            return None if quotient is None else (quotient,)
        if quotient.op_type == "Div" and not is_number(quotient.inputs[0], 1):
            return None
        value, nodes = quotient.outputs[0], (quotient,)
    elif not is_number(root.inputs[1], -0.5):
        return None
    product = user_of(value, "Mul")
    return (*nodes, product) if product is not None and other(product, value) is x else None


def last_axes(mean: ir.Node, x: ir.Value) -> int | None:
    """The first of the reduced axes, counted from the end, if they are the last ones and are kept."""
    given, dims_of_x = ints(mean, "axes", 1), rank(x)
    if not given or not mean.attributes.get_int("keepdims", 1):
        return None
    if dims_of_x is None and max(given) >= 0:
        return None
    negative = sorted(axis - dims_of_x if dims_of_x is not None and axis >= 0 else axis for axis in given)
    return negative[0] if negative == list(range(-len(given), 0)) else None


def per_element(found: Normalized, value: ir.Value, operator: str) -> tuple[ir.Node, ir.Value] | None:
    """The product or sum of a value with one parameter for each normalised element, and that parameter."""
    node = user_of(value, operator)
    for one, parameter in operands(node):
        if node is not None and one is value and _fits(found, parameter):
            return node, parameter
    return None


def _fits(found: Normalized, parameter: ir.Value) -> bool:
    have, want = dims(parameter), dims(found.x)
    if have is None or want is None or len(have) != -found.axis:
        return False
    return have == want[found.axis :] and all(isinstance(size, int) for size in have)
