"""What all fusions share: a place in the graph is looked at, and one node takes over from several.

The patterns are matched by hand and not with onnxscript's rewriter, because one formula has many spellings: factors
in any order, a division or a product with the reciprocal, casts or none. There, each would be a rule of its own, and
none could say why a near miss was left alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_constant, is_op

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class UnfitError(Exception):
    """A place that looks like the pattern and may not be fused; the message says why."""


@dataclass(frozen=True)
class Fused:
    """`last` becomes one operator, and the rest of `nodes`, on which it stood, goes."""

    last: ir.Node
    op_type: str
    inputs: Callable[[], Sequence[ir.Value | None]]  # asked for when nothing stands against the fusion any more
    nodes: Sequence[ir.Node]
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Fusion(LocalRewrite):
    """Looks at every node of certain types; what must stand around it is the subclass's business."""

    anchors: ClassVar[frozenset[str]]
    since: ClassVar[int]  # the opset that brought the operator

    @abstractmethod
    def find(self, node: ir.Node) -> Fused | None:
        """The fusion around an anchor; None where nothing like it stands, UnfitError where it may not be done."""

    def visit(self, node: ir.Node) -> None:
        if self.edit.opset < self.since or not is_op(node, *self.anchors):
            return
        try:
            found = self.find(node)
            if found is None:
                return
            _hold_exclusive(found)
        except UnfitError as why:
            self.decline(node, str(why))
            return
        self.edit.become(found.last, found.op_type, found.inputs(), found.attributes, origins=found.nodes)


def _hold_exclusive(found: Fused) -> None:
    """Nothing else may use what goes away: it would be computed twice."""
    inside = {*found.nodes, found.last}
    for node in inside - {found.last}:
        for value in node.outputs:
            hold(not value.is_graph_output(), f"'{value.name}' is an output of the model")
            hold(all(user in inside for user, _ in value.uses()), f"'{value.name}' has other users")


def hold(condition: bool, why: str) -> None:
    if not condition:
        raise UnfitError(why)


# -- looking around ---------------------------------------------------------------------------------------------


def user_of(value: ir.Value, *operators: str) -> ir.Node | None:
    """The first user that is one of these operators. That there is no other is checked for the whole of a fusion."""
    return next((node for node, _ in value.uses() if is_op(node, *operators)), None)


def operands(node: ir.Node | None) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Both inputs of a node in which their order is no matter, either way round."""
    if node is not None and len(node.inputs) == 2:
        left, right = node.inputs
        if left is not None and right is not None:
            yield left, right
            yield right, left


def other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The input beside this one."""
    return next((right for left, right in operands(node) if left is value), None)


def scalar(value: ir.Value | None) -> float | None:
    """The number that a constant of one element holds; with more axes than one, it might give its result more."""
    if value is None or not is_constant(value) or value.const_value is None or value.const_value.size != 1:
        return None
    array = value.const_value.numpy()
    return None if array.dtype.kind in "OSUc" or array.ndim > 1 else float(array.reshape(-1)[0])


def is_number(value: ir.Value | None, number: float) -> bool:
    """Whether a constant is this number, as near as its type can be."""
    found = scalar(value)
    if found is None or value is None:
        return False
    digits = {ir.DataType.FLOAT16: 2e-3, ir.DataType.BFLOAT16: 1e-2}.get(value.dtype or ir.DataType.UNDEFINED, 1e-6)
    return bool(np.isclose(found, number, rtol=digits, atol=0))


def exact_attribute(number: float, x: ir.Value) -> float:
    """Attributes are float32: a number that a graph of float64 has more digits of cannot become one."""
    kept = float(np.float32(number))
    hold(x.dtype != ir.DataType.DOUBLE or kept == number, f"{number} would lose digits as an attribute")
    return kept
