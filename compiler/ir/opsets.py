"""Operator schemas: which one a node is written against, and whether it means the same under another version."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import onnx
import onnx_ir as ir

# Versions where the meaning changed although the signature, or its defaults, did not tell.
_CHANGED_MEANING = {("", "GroupNormalization"): (21,)}

# Words that an attribute learned at a version, without any other change to the schema.
_LEARNED_WORDS = {
    ("GridSample", "mode", "linear"): 20,
    ("GridSample", "mode", "cubic"): 20,
    ("Pad", "mode", "wrap"): 19,
    ("Resize", "coordinate_transformation_mode", "half_pixel_symmetric"): 19,
    ("ScatterElements", "reduction", "max"): 18,
    ("ScatterElements", "reduction", "min"): 18,
    ("ScatterND", "reduction", "max"): 18,
    ("ScatterND", "reduction", "min"): 18,
}


def schema_at(node: ir.Node, version: int) -> onnx.defs.OpSchema | None:
    """The schema of a node's operator at an opset version of its domain, or None where there is none."""
    return _schema(node.op_type, version, node.domain)


@functools.lru_cache(maxsize=4096)
def _schema(op_type: str, version: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


@functools.lru_cache(maxsize=1024)
def default_attributes(schema: onnx.defs.OpSchema) -> dict[str, ir.Attr]:
    """The attributes that have a default value."""
    return {
        name: ir.serde.deserialize_attribute(attribute.default_value)
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type
    }


def difference(node: ir.Node, here: onnx.defs.OpSchema, there: onnx.defs.OpSchema) -> str | None:
    """Why a node that is written against one schema would not mean the same under another; None where it would."""
    if here is there or here.since_version == there.since_version:
        return None
    low, high = sorted((here.since_version, there.since_version))
    if any(low < version <= high for version in _CHANGED_MEANING.get((node.domain, node.op_type), ())):
        return f"its meaning changed between opset {low} and {high}"
    return (
        _attribute_difference(node, here, there)
        or _word_difference(node, there)
        or _value_difference(node, here, there)
    )


def drop_unknown_defaults(node: ir.Node, there: onnx.defs.OpSchema) -> bool:
    """Drop the attributes that a schema does not know; whether there were any. They must be at their defaults."""
    unknown = [name for name in node.attributes if name not in there.attributes]
    for name in unknown:
        del node.attributes[name]
    return bool(unknown)


def _attribute_difference(node: ir.Node, here: onnx.defs.OpSchema, there: onnx.defs.OpSchema) -> str | None:
    old, new = default_attributes(here), default_attributes(there)
    for name, attr in node.attributes.items():
        if name not in there.attributes and (name not in old or attr.value != old[name].value):
            return f"opset {there.since_version} has no attribute '{name}'"
    for name, attribute in there.attributes.items():
        if name in node.attributes:
            continue
        if attribute.required:
            return f"opset {there.since_version} requires the attribute '{name}'"
        if name in here.attributes and _value(old.get(name)) != _value(new.get(name)):
            return f"the default of '{name}' changed"
    return None


def _value(attr: ir.Attr | None) -> object:
    return None if attr is None else attr.value


def _word_difference(node: ir.Node, there: onnx.defs.OpSchema) -> str | None:
    for name, attr in node.attributes.items():
        if attr.type is ir.AttributeType.STRING and not attr.is_ref():
            since = _LEARNED_WORDS.get((node.op_type, name, attr.as_string()), 0)
            if there.since_version < since:
                return f"'{name}={attr.as_string()}' exists since opset {since}"
    return None


def _value_difference(node: ir.Node, here: onnx.defs.OpSchema, there: onnx.defs.OpSchema) -> str | None:
    sides = ((node.inputs, here.inputs, there.inputs), (node.outputs, here.outputs, there.outputs))
    for values, old, new in sides:
        for index, value in enumerate(values):
            if value is None or value.name == "":
                continue
            was, becomes = formal(old, index), formal(new, index)
            if was is None or becomes is None:
                return f"opset {there.since_version} has no place for '{value.name}'"
            text = type_string(value)
            if text is not None and text not in becomes.types:
                return f"opset {there.since_version} does not take {text}"
    return None


def formal(
    formals: Sequence[onnx.defs.OpSchema.FormalParameter], index: int
) -> onnx.defs.OpSchema.FormalParameter | None:
    if index < len(formals):
        return formals[index]
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    return formals[-1] if formals and formals[-1].option == variadic else None


def type_string(value: ir.Value) -> str | None:
    """The type of a value as schemas write it: "tensor(float)"."""
    return None if value.type is None else _type_string(value.type)


def _type_string(kind: ir.TypeProtocol) -> str | None:
    if isinstance(kind, ir.TensorType):
        return f"tensor({kind.dtype.name.lower()})"
    inner = _type_string(kind.elem_type) if isinstance(kind, (ir.SequenceType, ir.OptionalType)) else None
    if inner is None:
        return None
    return f"seq({inner})" if isinstance(kind, ir.SequenceType) else f"optional({inner})"
