"""The long tail of operators, through the implementations that come with onnx."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from compiler.ir.precision import TYPE_ATTRIBUTES, Precision
from compiler.ir.program import Runner

# These compute in float32 whatever they are given; the body that defines them does not.
_SINGLE_PRECISION = frozenset({"LinearAttention"})


class _ReferenceRunner:
    captured: tuple[ir.Value, ...] = ()

    def __init__(self, operator: Any, precision: Precision) -> None:
        self._operator = operator
        self._precision = precision

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        results = self._operator.run(*inputs)
        # Some of them fix float32 inside.
        return [self._precision.raised(result) for result in results]


def reference_runner(node: ir.Node, opsets: Mapping[str, int], precision: Precision) -> Runner | None:
    """onnx's own implementation of a node, or None where it has none."""
    from onnx.reference.ops import _op_list

    if node.domain or node.op_type in _SINGLE_PRECISION or not _is_implemented(_op_list, node.op_type):
        return None
    implementation: Any = _op_list.load_op("", node.op_type, opsets[""])
    settings = {"log": _silent, "opsets": dict(opsets), "verbose": 0, "new_ops": {}, "existing_functions": {}}
    return _ReferenceRunner(implementation(_proto(node, precision), settings), precision)


def _silent(pattern: str, *values: object) -> None:
    pass


def _is_implemented(module: types.ModuleType, op_type: str) -> bool:
    versions = (name.removeprefix(f"{op_type}_") for name in vars(module) if name.startswith(f"{op_type}_"))
    return hasattr(module, op_type) or any(version.isdigit() for version in versions)


def _proto(node: ir.Node, precision: Precision) -> onnx.NodeProto:
    proto: onnx.NodeProto = ir.serde.serialize_node(node)
    del proto.metadata_props[:]
    for attribute in proto.attribute:
        if attribute.name in TYPE_ATTRIBUTES and attribute.type == onnx.AttributeProto.INT:
            attribute.i = precision.data_type(ir.DataType(attribute.i))
        elif attribute.type == onnx.AttributeProto.TENSOR:
            array = precision.raised(onnx.numpy_helper.to_array(attribute.t))
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(array, attribute.t.name))
    return proto
