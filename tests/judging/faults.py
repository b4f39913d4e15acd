"""What a planted fault is: where it can be planted in a graph, and how."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array

Answers = list[dict[str, Array]]


class NoPlaceError(Exception):
    """The fault cannot be planted here after all."""


@dataclass(frozen=True)
class GraphFault:
    """Planted into a graph, which is then computed as it stands."""

    name: str
    sites: Callable[[ir.Model], Sequence[Any]]
    plant: Callable[[ir.Model, Any, random.Random], None]


@dataclass(frozen=True)
class AnswerFault:
    """What a runtime does to the answers of a graph that is right."""

    name: str
    plant: Callable[[Answers, random.Random], None]


# -- where ----------------------------------------------------------------------------------------------------------


def nodes(model: ir.Model, *operators: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in operators and node.domain == ""]


def weights(model: ir.Model, fits: Callable[[Array], bool] = lambda array: True) -> list[ir.Value]:
    """Float32 constants that something reads."""
    found = []
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT and value.uses() and fits(tensor.numpy()):
            found.append(value)
    return found


def floats(model: ir.Model) -> list[ir.Value]:
    """Float32 results that other nodes read."""
    return [
        value
        for node in model.graph
        for value in node.outputs
        if value.dtype == ir.DataType.FLOAT and value.uses() and not value.is_graph_output()
    ]


def constant_of(value: ir.Value | None) -> Array | None:
    """The numbers of an operand that is known beforehand."""
    return value.const_value.numpy() if value is not None and value.const_value is not None else None


# -- how ------------------------------------------------------------------------------------------------------------


def set_weight(value: ir.Value, array: Array) -> None:
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)


def new_constant(model: ir.Model, array: Array, name: str = "planted") -> ir.Value:
    name = f"{name}_{len(model.graph.initializers)}"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    model.graph.register_initializer(value)
    return value


class Wire:
    """Nodes that are put between a value and those that read it."""

    def __init__(self, model: ir.Model, value: ir.Value) -> None:
        self.model = model
        self.value = value
        self._readers = [(use.node, use.idx) for use in value.uses()]
        self._nodes: list[ir.Node] = []

    def add(self, operator: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes=attributes)
        node.outputs[0].name = f"planted_{id(node)}"
        self._nodes.append(node)
        return node.outputs[0]

    def end(self, result: ir.Value) -> None:
        """From here on the readers read this."""
        producer = self.value.producer()
        assert producer is not None
        self.model.graph.insert_after(producer, self._nodes)
        result.type, result.shape = self.value.type, self.value.shape
        for node, place in self._readers:
            node.replace_input_with(place, result)


def replace_node(
    model: ir.Model, node: ir.Node, operator: str, inputs: Sequence[ir.Value | None], **given: Any
) -> None:
    """Another operator in its place."""
    new = ir.node(operator, list(inputs), attributes=given)
    result, old = new.outputs[0], node.outputs[0]
    result.name, result.type, result.shape = f"planted_{id(new)}", old.type, old.shape
    model.graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def places(array: Array, rng: random.Random) -> tuple[int, ...]:
    """Some element."""
    return tuple(rng.randrange(size) for size in array.shape)


def number(node: ir.Node, attribute: str, default: float) -> float:
    found = node.attributes.get(attribute)
    return float(found.value) if found is not None else default


def whole(node: ir.Node, attribute: str, default: int) -> int:
    return int(number(node, attribute, default))


def outputs_of(answers: Answers) -> Iterator[tuple[int, str]]:
    for place, arrays in enumerate(answers):
        for name in arrays:
            yield place, name
