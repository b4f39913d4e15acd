"""Which places two versions of a graph have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import onnx_ir as ir

from compiler.diagnose.cut import reads
from compiler.ir.opsets import schema_at
from compiler.ir.text import attributes_text


def shared_places(before: ir.Model, after: ir.Model) -> set[str]:
    """The names in `after` of values that must be what they were in `before`.

    That is what untouched nodes compute and what they read, and the outputs. What stands between touched nodes only
    may mean something else now.
    """
    old = {_meaning(node, before) for node in before.graph}
    there = {value.name for node in before.graph for value in node.outputs}
    places = {str(value.name) for value in after.graph.outputs}
    for node in after.graph:
        if _meaning(node, after) in old:
            places.update(str(value.name) for value in (*node.outputs, *reads(node)))
    made = {value.name for node in after.graph for value in node.outputs}
    return {name for name in places if name and name in there and name in made}


def touched_nodes(before: ir.Model, after: ir.Model) -> list[ir.Node]:
    """The nodes of `after` that are not as they were in `before`."""
    old = {_meaning(node, before) for node in before.graph}
    return [node for node in after.graph if _meaning(node, after) not in old]


def _meaning(node: ir.Node, model: ir.Model) -> Hashable:
    """What a node computes from which names: equal for two nodes that are the same."""
    version = model.opset_imports.get(node.domain, 0) if node.version is None else node.version
    schema = schema_at(node, version)
    inputs = tuple(None if value is None else value.name for value in node.inputs)
    weights = tuple(_content(value) for value in reads(node) if value.is_initializer())
    outputs = tuple(value.name for value in node.outputs)
    since = version if schema is None else schema.since_version
    return node.op_identifier(), since, inputs, weights, outputs, attributes_text(node)


def _content(value: ir.Value) -> Hashable:
    tensor = value.const_value
    if tensor is None:
        return None
    return str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(tensor.tobytes()).hexdigest()
