"""x / sqrt(mean(x * x) + epsilon), in whatever way it is written: what two normalisations have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import FLOATS, UnfitError, hold, is_number, operands, other, scalar, user_of
from compiler.passes.rewriting import Edit, dims, ints, made_by, rank

_NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Normalized:
    """`value` is x divided by its root mean square over the axes from `axis` to the last; `nodes` compute it."""

    x: ir.Value
    axis: int  # negative
    epsilon: float
    value: ir.Value
    nodes: tuple[ir.Node, ...]
    sizes: tuple[int | str | None, ...]  # of those axes
    stash_type: int  # what the operators compute in: at least float32, and no less than the graph

    @property
    def attributes(self) -> dict[str, int | float]:
        return {"axis": self.axis, "epsilon": self.epsilon, "stash_type": self.stash_type}

    def within_casts(self) -> Normalized:
        """With the Casts to float32 and back, if it stands between them."""
        widened, narrowed = made_by(self.x, "Cast"), user_of(self.value, "Cast")
        x = widened.inputs[0] if widened is not None else None
        if x is None or narrowed is None or self.x.dtype != ir.DataType.FLOAT or x.dtype not in _NARROW:
            return self
        if narrowed.outputs[0].dtype != x.dtype:
            return self
        return replace(self, x=x, value=narrowed.outputs[0], nodes=(*self.nodes, narrowed))

    def per_element(self, value: ir.Value, operator: str) -> tuple[ir.Node, ir.Value] | None:
        """The product or sum of a value with one parameter for each normalised element, and that parameter."""
        node = user_of(value, operator)
        for one, parameter in operands(node):
            if node is not None and one is value and self.sizes == dims(parameter) and self._are_known():
                return node, parameter
        return None

    def ones(self, edit: Edit) -> ir.Value:
        """A scale that changes nothing."""
        assert self.x.dtype is not None
        shape = [size for size in self.sizes if isinstance(size, int)]
        return edit.constant(np.ones(shape, self.x.dtype.numpy()), self.value)

    def hold_ones(self) -> None:
        hold(self._are_known(), "it has no scale, and how large one would be is unknown")

    def _are_known(self) -> bool:
        return all(isinstance(size, int) for size in self.sizes)


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
    sizes = (dims(x) or (None,) * -axis)[axis:]
    wide = ir.DataType.DOUBLE if x.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
    return Normalized(x, axis, epsilon, divided[-1].outputs[0], nodes, sizes, wide.value)


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
