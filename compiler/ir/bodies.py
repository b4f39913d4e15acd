"""Operators that ONNX defines through others: their function bodies, and copies of bodies for use in a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from compiler.ir.opsets import default_attributes, schema_at
from compiler.ir.subgraphs import graphs_in, subgraphs_of


def schema_bodies(node: ir.Node, schema: onnx.defs.OpSchema) -> Iterator[ir.Function]:
    """The bodies that a schema gives for a node, the one for the newest opset first."""
    bodies: Any = schema  # onnx's stubs lack these methods
    proto: bytes | None = None
    for version in sorted(bodies.all_function_opset_versions, reverse=True):
        if version in bodies.function_opset_versions:
            text = bodies.get_function_with_opset_version(version)
        else:
            proto = proto or ir.serde.serialize_node(node).SerializeToString()
            types = [_type(value).SerializeToString() for value in node.inputs]
            text = bodies.get_context_dependent_function_with_opset_version(version, proto, types)
        if text:
            yield _function(onnx.FunctionProto.FromString(text))


def _function(proto: onnx.FunctionProto) -> ir.Function:
    computed = {name for node in proto.node for name in node.output}
    # Bodies name outputs that this node does not have and nothing computes, and onnx-ir refuses those. As inputs
    # that no call gives they stay in their place and mean "absent".
    proto.input.extend(name for name in proto.output if name not in computed and name not in proto.input)
    return ir.serde.deserialize_function(proto)


def _type(value: ir.Value | None) -> onnx.TypeProto:
    if value is None or value.type is None:
        return onnx.TypeProto()
    proto: onnx.TypeProto = ir.serde.serialize_value(value, name="unused").type
    return proto


def call_attributes(node: ir.Node, schema: onnx.defs.OpSchema | None) -> dict[str, ir.Attr]:
    """The attributes that a body sees when a node calls it: the node's own, and the schema's defaults."""
    defaults = default_attributes(schema) if schema is not None else {}
    return {**defaults, **node.attributes}


class Copier:
    """Copies the nodes of a function body, with a call's inputs and attributes in place of its parameters."""

    def __init__(
        self,
        body: ir.Function,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, ir.Attr],
        fresh_name: Callable[[str], str],
    ) -> None:
        padded = [*inputs, *[None] * (len(body.inputs) - len(inputs))]
        defaults = {name: attr for name, attr in body.attributes.items() if attr.value is not None}
        self._body = body
        self._values: dict[ir.Value, ir.Value | None] = dict(zip(body.inputs, padded, strict=True))
        self._attributes = {**defaults, **attributes}
        self._fresh_name = fresh_name

    def nodes(self) -> Iterator[ir.Node]:
        for node in self._body:
            yield self._node(node)

    def outputs(self) -> list[ir.Value | None]:
        """What the body's outputs have become; only after the nodes have been copied."""
        return [self._values.get(value) for value in self._body.outputs]

    def _node(self, node: ir.Node) -> ir.Node:
        return ir.Node(
            node.domain,
            node.op_type,
            [self._values.get(value, value) if value is not None else None for value in node.inputs],
            [copied for attr in node.attributes.values() if (copied := self._attribute(attr)) is not None],
            overload=node.overload,
            outputs=[self._fresh(value) for value in node.outputs],
            name=self._fresh_name(node.name or node.op_type),
            metadata_props=dict(node.metadata_props),
        )

    def _fresh(self, value: ir.Value) -> ir.Value:
        name = self._fresh_name(value.name) if value.name else ""
        fresh = ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
        self._values[value] = fresh
        return fresh

    def _attribute(self, attr: ir.Attr) -> ir.Attr | None:
        if attr.is_ref():
            given = self._attributes.get(attr.ref_attr_name or "")
            return None if given is None else ir.Attr(attr.name, given.type, given.value, given.ref_attr_name)
        if attr.type is ir.AttributeType.GRAPH:
            return ir.AttrGraph(attr.name, self._graph(attr.as_graph()))
        if attr.type is ir.AttributeType.GRAPHS:
            return ir.AttrGraphs(attr.name, [self._graph(graph) for graph in graphs_in(attr)])
        return attr

    def _graph(self, graph: ir.Graph) -> ir.Graph:
        inputs = [self._fresh(value) for value in graph.inputs]
        initializers = [self._fresh(value) for value in graph.initializers.values()]
        nodes = [self._node(node) for node in graph]
        outputs = [self._values.get(value, value) for value in graph.outputs]
        return ir.Graph(
            inputs,
            [value for value in outputs if value is not None],
            nodes=nodes,
            initializers=initializers,
            opset_imports=dict(graph.opset_imports),
            name=graph.name,
        )


def type_inputs(node: ir.Node, opsets: Mapping[str, int]) -> None:
    """Give a node's inputs their types, which the body of an operator can depend on, from as far up as it takes."""
    pending, seen = _untyped_producers(node), set[ir.Node]()
    while pending:
        producer = pending[-1]
        if producer in seen:
            infer_types(pending.pop(), opsets)
        else:
            seen.add(producer)
            pending.extend(above for above in _untyped_producers(producer) if above not in seen)


def _untyped_producers(node: ir.Node) -> list[ir.Node]:
    producers = (value.producer() for value in node.inputs if value is not None and value.type is None)
    return [producer for producer in producers if producer is not None]


def infer_types(node: ir.Node, opsets: Mapping[str, int]) -> None:
    """Give a node's outputs their types, as far as those of its inputs are known."""
    schema = schema_at(node, opsets.get(node.domain, 1))
    # Bodies of loops see outer values, whose types onnx would want as well.
    if schema is None or any(subgraphs_of(node)) or any(value and value.type is None for value in node.inputs):
        return
    inputs = [value for value in node.inputs if value is not None]
    types = {value.name or "": ir.serde.serialize_value(value).type for value in inputs}
    known = {value.name or "": tensor for value in inputs if (tensor := _small_constant(value)) is not None}
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema, ir.serde.serialize_node(node), types, known, opset_imports=imports
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return
    for value in node.outputs:
        proto = found.get(value.name or "")
        if proto is not None:
            value.type = ir.serde.deserialize_type_proto_for_type(proto)
            value.shape = ir.serde.deserialize_type_proto_for_shape(proto)


def _small_constant(value: ir.Value) -> onnx.TensorProto | None:
    tensor = ir.convenience.get_const_tensor(value)
    return ir.serde.serialize_tensor(tensor) if tensor is not None and tensor.size <= 64 else None
