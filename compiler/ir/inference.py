"""onnx's shape inference on a model of ours: what goes in is an outline, and what comes out are types by name.

onnx-ir has a pass for this. It writes and reads the whole graph with its provenance, and looks every weight up in a
list of them, which is quadratic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
import onnx_ir as ir
from onnx import shape_inference

from compiler.ir.subgraphs import graphs_in

_CONTENT = 128  # elements; what is longer is no shape, and no list of axes or sizes

Found = tuple[ir.Value, ir.TensorType | None, ir.Shape | None]


def inferred(model: ir.Model) -> Iterator[Found]:
    """Every value that onnx knows to be a tensor, with its type and shape; nothing where the inference fails."""
    try:
        proto = shape_inference.infer_shapes(_outline(model), check_type=True, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, ValueError):  # a ValueError is one of 2 GiB, or of names that clash
        return
    yield from _read(model.graph, proto.graph)


def _outline(model: ir.Model) -> onnx.ModelProto:
    """Operators and types, without long weights, provenance and names of nodes."""
    proto = onnx.ModelProto(ir_version=onnx.IR_VERSION)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    for function in model.functions.values():
        proto.functions.append(ir.serde.serialize_function(function))
    graph = model.graph
    _describe(graph.inputs, proto.graph.input)
    _describe(graph.outputs, proto.graph.output)
    # Weights are inputs; the short ones have their content, too.
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and not value.is_graph_input():
            weight = proto.graph.input.add(name=value.name).type
            ir.serde.serialize_type_into(weight, ir.TensorType(tensor.dtype))
            ir.serde.serialize_shape_into(weight, tensor.shape)
        if tensor is not None and tensor.size <= _CONTENT:
            content = proto.graph.initializer.add()
            ir.serde.serialize_tensor_into(content, tensor)
            content.name = str(value.name)
    for node in graph:
        _write(node, proto.graph.node)
        _describe((value for value in node.outputs if not value.is_graph_output()), proto.graph.value_info)
    return proto


def _describe(values: Iterable[ir.Value], protos: Any) -> None:
    for value in values:
        if value.name:
            ir.serde.serialize_value_into(protos.add(), value)


def _write(node: ir.Node, protos: Any) -> None:
    proto = protos.add(
        op_type=node.op_type,
        domain=node.domain,
        overload=node.overload,
        input=["" if value is None else value.name for value in node.inputs],
        output=[value.name for value in node.outputs],
    )
    for attr in node.attributes.values():
        ir.serde.serialize_attribute_into(proto.attribute.add(), attr)


def _read(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[Found]:
    types = {info.name: info.type for part in (proto.input, proto.output, proto.value_info) for info in part}
    for value in graph.inputs:
        yield from _found(value, types)
    for node, written in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            yield from _found(value, types)
        for attr, attribute in zip(node.attributes.values(), written.attribute, strict=True):
            inner = (attribute.g,) if attribute.HasField("g") else attribute.graphs
            for subgraph, body in zip(graphs_in(attr), inner, strict=True):
                yield from _read(subgraph, body)


def _found(value: ir.Value, types: dict[str, onnx.TypeProto]) -> Iterator[Found]:
    found = types.get(value.name or "")
    if found is None or not found.HasField("tensor_type"):
        return
    kind, shape = found.tensor_type.elem_type, ir.serde.deserialize_type_proto_for_shape(found)
    yield value, ir.TensorType(ir.DataType(kind)) if kind else None, shape
