"""Which weights of a graph can be stored in few bits, and what they are there for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import constant, input_of, is_constant, is_op, static_shape
from compiler.precision.candidates import is_kept

Role = Literal["layer", "head", "embedding"]

SMALLEST = 1024  # numbers; a weight below this is not worth a node of its own

# What stands between the last layer and an output without being one.
_FINISHING = {
    "Add", "Cast", "Div", "Identity", "LogSoftmax", "Mul", "Reshape", "Sigmoid", "Softmax", "Squeeze", "Sub", "Tanh",
    "Transpose", "Unsqueeze",
}  # fmt: skip


@dataclass(frozen=True)
class User:
    """One node that computes with a weight."""

    node: ir.Node
    role: Role
    summed: int  # the axis of the stored weight that the node sums over; of a table the one within a row
    value: ir.Value  # what the weight is multiplied with; of a table the indices


@dataclass(eq=False)
class Weight:
    """A constant, and everyone who uses it: tied weights stay one."""

    value: ir.Value
    users: list[User] = field(default_factory=list)
    why: str = ""  # it must stay as it is

    @property
    def name(self) -> str:
        return str(self.value.name)

    @property
    def summed(self) -> int:
        return self.users[0].summed

    @property
    def fine(self) -> bool:
        """Whether it is kept in eight bits even where four are asked for."""
        return any(user.role != "layer" for user in self.users)

    @property
    def count(self) -> int:
        return int(np.prod(static_shape(self.value) or ()))

    def rows(self) -> Array:
        """One row for each result that is summed up."""
        array = constant(self.value)
        assert array is not None
        return np.ascontiguousarray(array.T if self.summed == 0 else array)


def find(model: ir.Model, keep: tuple[str, ...]) -> list[Weight]:
    """Every constant that a layer multiplies with or a table is looked up in, in the order of the graph."""
    heads = set(_heads(model.graph))
    found: dict[ir.Value, Weight] = {}
    for node in model.graph:
        for value, user in _uses(node, heads):
            found.setdefault(value, Weight(value)).users.append(user)
    for weight in found.values():
        weight.why = _objection(weight, keep)
    return list(found.values())


def _uses(node: ir.Node, heads: set[ir.Node]) -> Iterator[tuple[ir.Value, User]]:
    first, second = input_of(node, 0), input_of(node, 1)
    if first is None or second is None:
        return
    if is_op(node, "Gather") and _is_matrix(first) and node.attributes.get_int("axis", 0) in (0, -2):
        yield first, User(node, "embedding", 1, second)
    if is_op(node, "MatMul", "Gemm") and node.attributes.get_int("transA", 0) == 0:
        flipped = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0
        weight, turned = _behind_transpose(second)
        if _is_matrix(weight):
            yield weight, User(node, "head" if node in heads else "layer", int(flipped != turned), first)


def _behind_transpose(value: ir.Value) -> tuple[ir.Value, bool]:
    node = value.producer()
    if node is None or not is_op(node, "Transpose") or node.inputs[0] is None:
        return value, False
    return node.inputs[0], list(node.attributes.get_ints("perm", [1, 0])) == [1, 0]


def _is_matrix(value: ir.Value) -> bool:
    return is_constant(value) and len(static_shape(value) or ()) == 2 and value.dtype == ir.DataType.FLOAT


def _heads(graph: ir.Graph) -> Iterator[ir.Node]:
    """The layers whose results become outputs without another layer or a sum of two values in between."""
    for output in graph.outputs:
        value: ir.Value | None = output
        while value is not None and (node := value.producer()) is not None:
            if is_op(node, "MatMul", "Gemm"):
                yield node
            varying = [given for given in node.inputs if given is not None and not is_constant(given)]
            value = varying[0] if is_op(node, *_FINISHING) and len(varying) == 1 else None


def _objection(weight: Weight, keep: tuple[str, ...]) -> str:
    """Why a weight must stay as it is."""
    if any(is_kept(user.node, keep) for user in weight.users):
        return "--keep names it"
    if weight.count < SMALLEST:
        return f"it has less than {SMALLEST} weights"
    if len({user.summed for user in weight.users}) > 1:
        return f"'{weight.name}' is used along both of its axes"
    if weight.value.is_graph_output() or not set(_using(weight.value)) <= {user.node for user in weight.users}:
        return f"'{weight.name}' has other users"
    array = constant(weight.value)
    assert array is not None
    return "" if np.isfinite(array).all() else "not all of its weights are finite"


def _using(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that compute with a weight, behind a Transpose, too."""
    for node in value.consumers():
        if is_op(node, "Transpose") and not node.outputs[0].is_graph_output():
            yield from node.outputs[0].consumers()
        else:
            yield node
