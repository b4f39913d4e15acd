"""A model as text that is stable and made for diffs: one line per value, weights by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from compiler.ir.provenance import provenance
from compiler.ir.subgraphs import graphs_in

_INDENT = "  "
_INLINE_ELEMENTS = 8
_HASH_DIGITS = 12


def to_text(model: ir.Model, *, with_provenance: bool = False) -> str:
    """Every name, type, attribute and weight of a model. Equal models give equal text."""
    printer = _Printer(with_provenance)
    lines = [f"model ir_version={model.ir_version} opsets {{{_opsets(model.opset_imports)}}}"]
    lines.extend(printer.graph(model.graph, ""))
    for identifier in sorted(model.functions):
        lines.extend(["", *printer.function(model.functions[identifier])])
    return "\n".join(lines) + "\n"


class _Printer:
    def __init__(self, with_provenance: bool) -> None:
        self._with_provenance = with_provenance

    def graph(self, graph: ir.Graph, indent: str) -> Iterator[str]:
        inputs = ", ".join(_typed(value) for value in graph.inputs)
        outputs = ", ".join(_typed(value) for value in graph.outputs)
        yield f"{indent}graph {graph.name or ''}({inputs}) -> ({outputs})"
        for name in sorted(graph.initializers):
            tensor = graph.initializers[name].const_value
            yield f"{indent}{_INDENT}init {name}: {'no value' if tensor is None else tensor_text(tensor)}"
        for node in graph:
            yield from self._node(node, indent + _INDENT)

    def function(self, function: ir.Function) -> Iterator[str]:
        name = f"{function.domain}::{function.name}" + (f":{function.overload}" if function.overload else "")
        parameters = ", ".join(_parameter(attr) for _, attr in sorted(function.attributes.items()))
        inputs = ", ".join(_name(value) for value in function.inputs)
        outputs = ", ".join(_name(value) for value in function.outputs)
        yield f"function {name}<{parameters}>({inputs}) -> ({outputs}) opsets {{{_opsets(function.opset_imports)}}}"
        for node in function:
            yield from self._node(node, _INDENT)

    def _node(self, node: ir.Node, indent: str) -> Iterator[str]:
        outputs = ", ".join(_typed(value) for value in node.outputs)
        inputs = ", ".join(_name(value) for value in node.inputs)
        operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        operator += f":{node.overload}" if node.overload else ""
        plain = [attr for attr in _sorted(node.attributes) if not graphs_in(attr)]
        attributes = f" {{{', '.join(_attribute(attr) for attr in plain)}}}" if plain else ""
        origin = provenance(node) if self._with_provenance else None
        comment = f"  # {origin}" if origin and str(origin) else ""
        yield f"{indent}{outputs} = {operator}({inputs}){attributes}{comment}"
        for attr in _sorted(node.attributes):
            for graph in graphs_in(attr):
                yield f"{indent}{_INDENT}{attr.name}:"
                yield from self.graph(graph, indent + _INDENT * 2)


def attributes_text(node: ir.Node) -> str:
    """Every attribute of a node, with the graphs inside of it."""
    printer = _Printer(with_provenance=False)
    parts = [_attribute(attr) for attr in _sorted(node.attributes) if not graphs_in(attr)]
    parts += [
        line for attr in _sorted(node.attributes) for graph in graphs_in(attr) for line in printer.graph(graph, "")
    ]
    return "\n".join(parts)


def _sorted(attributes: Mapping[str, ir.Attr]) -> list[ir.Attr]:
    return [attributes[name] for name in sorted(attributes)]


def _opsets(imports: Mapping[str, int]) -> str:
    return ", ".join(f"{domain or 'ai.onnx'}: {version}" for domain, version in sorted(imports.items()))


def _name(value: ir.Value | None) -> str:
    return "_" if value is None or not value.name else value.name


def _typed(value: ir.Value) -> str:
    return _name(value) + (f": {type_text(value)}" if value.type is not None else "")


def type_text(value: ir.Value) -> str:
    """The type of a value: float32[batch,128], seq(int64), float32[...] where the rank is not known."""
    shape = "..." if value.shape is None else ",".join(_dim(dim) for dim in value.shape)
    return _type(value.type, f"[{shape}]")


def _type(kind: ir.TypeProtocol | None, shape: str) -> str:
    if isinstance(kind, ir.SequenceType):
        return f"seq({_type(kind.elem_type, shape)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_type(kind.elem_type, shape)})"
    return dtype_text(kind.dtype) + shape if kind is not None else "untyped"


def dtype_text(dtype: ir.DataType) -> str:
    """An element type in the tool's own vocabulary, which is numpy's."""
    if dtype is ir.DataType.STRING:
        return "string"
    return "undefined" if dtype is ir.DataType.UNDEFINED else dtype.numpy().name


def _dim(dim: int | ir.SymbolicDimProtocol) -> str:
    if isinstance(dim, int):
        return str(dim)
    return "?" if dim.value is None else dim.value.replace(" ", "")


def tensor_text(tensor: ir.TensorProtocol) -> str:
    kind = f"{dtype_text(tensor.dtype)}[{','.join(_dim(dim) for dim in tensor.shape)}]"
    if tensor.size <= _INLINE_ELEMENTS:
        return f"{kind} {_elements(tensor)}"
    return f"{kind} sha256:{hashlib.sha256(tensor.tobytes()).hexdigest()[:_HASH_DIGITS]}"


def _elements(tensor: ir.TensorProtocol) -> str:
    array = tensor.numpy()
    if tensor.dtype.is_floating_point() and tensor.dtype.bitwidth < 64:
        # The shortest text that reads back as the same float32, as numpy prints it.
        array = array.astype(np.float32)
    return "{" + ", ".join(str(element) for element in array.reshape(-1)) + "}"


def _parameter(attr: ir.Attr) -> str:
    return attr.name if attr.value is None else _attribute(attr)


def _attribute(attr: ir.Attr) -> str:
    return f"{attr.name}={f'@{attr.ref_attr_name}' if attr.is_ref() else _attribute_value(attr)}"


def _attribute_value(attr: ir.Attr) -> str:
    match attr.type:
        case ir.AttributeType.FLOAT:
            return _float(attr.as_float())
        case ir.AttributeType.FLOATS:
            return f"[{', '.join(_float(value) for value in attr.as_floats())}]"
        case ir.AttributeType.STRINGS:
            return f"[{', '.join(repr(value) for value in attr.as_strings())}]"
        case ir.AttributeType.INTS:
            return f"[{', '.join(str(value) for value in attr.as_ints())}]"
        case ir.AttributeType.TENSOR:
            return tensor_text(attr.as_tensor())
        case ir.AttributeType.TENSORS:
            return f"[{', '.join(tensor_text(tensor) for tensor in attr.as_tensors())}]"
        case _:
            return repr(attr.value)


def _float(value: float) -> str:
    # Attributes are float32 in the file, so the digits beyond that are noise.
    return str(np.float32(value))
