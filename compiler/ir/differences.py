"""In what two graphs differ: operators, shapes of values, weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.text import tensor_text, type_text


@dataclass(frozen=True)
class Differences:
    """Each a mapping from a name to what it is in the first and in the second; "" where it is not there."""

    operators: dict[str, tuple[int, int]]
    interface: dict[str, tuple[str, str]]
    shapes: dict[str, tuple[str, str]]
    weights: dict[str, tuple[str, str]]

    @property
    def none(self) -> bool:
        return not (self.operators or self.interface or self.shapes or self.weights)


def differences(one: ir.Model, other: ir.Model) -> Differences:
    counts = [_operators(model) for model in (one, other)]
    names = sorted(counts[0].keys() | counts[1].keys())
    operators = {name: (counts[0][name], counts[1][name]) for name in names if counts[0][name] != counts[1][name]}
    shapes = [_shapes(model) for model in (one, other)]
    both = shapes[0].keys() & shapes[1].keys()
    return Differences(
        operators,
        _changed(_interface(one), _interface(other)),
        _changed(*({name: kind for name, kind in side.items() if name in both} for side in shapes)),
        _changed(_weights(one), _weights(other)),
    )


def _changed(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str, str]]:
    names = dict.fromkeys([*one, *other])
    pairs = {name: (one.get(name, ""), other.get(name, "")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _operators(model: ir.Model) -> Counter[str]:
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    return Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes)


def _interface(model: ir.Model) -> dict[str, str]:
    sides = (("input", model.graph.inputs), ("output", model.graph.outputs))
    return {f"{side} {value.name}": type_text(value) for side, values in sides for value in values}


def _shapes(model: ir.Model) -> dict[str, str]:
    """Of the values inside, as far as they are known."""
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    values = [value for node in nodes for value in node.outputs if value.name and not value.is_graph_output()]
    return {str(value.name): type_text(value) for value in values if value.type is not None and value.shape is not None}


def _weights(model: ir.Model) -> dict[str, str]:
    found = {}
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            found[name] = "" if value.const_value is None else tensor_text(value.const_value)
    return found
