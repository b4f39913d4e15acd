"""Which kernels the installed ONNX Runtime has: it lists them itself.

A node without one is refused while the session is made, with an empty name. Asked beforehand, the types can be
widened, or the node be refused by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from compiler.ir.opsets import formal, schema_at, type_string

if TYPE_CHECKING:
    import onnx_ir as ir

_OPEN_END = 2**31 - 1  # "and newer", as long as the definition of the operator stays the same

Types = dict[str, str]  # type variable of the definition -> "tensor(float)"


_BUILT_IN = {"Constant", "If", "Loop", "Scan"}
# Half precision is computed in float32 where there is no kernel: the runtime inserts the casts.
_COMPUTED_AS = {"tensor(float16)": "tensor(float)"}


def lacking(node: ir.Node, opset: int) -> Types | None:
    """The types of a standard operator, if no kernel takes them."""
    if node.domain != "" or node.op_type in _BUILT_IN or schema_at(node, opset) is None:
        return None
    types = types_of(node, opset)
    return None if taken(node, opset, types) else types


def types_of(node: ir.Node, opset: int) -> Types:
    """What a node's values bind the type variables of its definition to, as far as the types are known."""
    schema = schema_at(node, opset)
    assert schema is not None
    types: Types = {}
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for index, value in enumerate(values):
            place = formal(formals, index)
            text = None if value is None else type_string(value)
            if place is not None and text is not None:
                types.setdefault(place.type_str, _COMPUTED_AS.get(text, text))
    return types


def has_body(node: ir.Node, opset: int) -> bool:
    """Whether ONNX defines the operator through others."""
    schema: Any = schema_at(node, opset)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def taken(node: ir.Node, opset: int, types: Mapping[str, str]) -> bool:
    schema = schema_at(node, opset)
    assert schema is not None
    return any(_fits(constraints, types) for constraints in _constraints(node.op_type, schema.since_version))


def _fits(constraints: Mapping[str, Iterable[str]], types: Mapping[str, str]) -> bool:
    return all(types[name] in allowed for name, allowed in constraints.items() if name in types)


@cache
def _constraints(op_type: str, since: int) -> tuple[Mapping[str, list[str]], ...]:
    return tuple(kernel.type_constraints for kernel in _kernels().get(op_type, ()) if _serves(kernel, since))


def _serves(kernel: Any, since: int) -> bool:
    first, last = kernel.version_range
    return bool(first == since or (first <= since <= last != _OPEN_END))


@cache
def _kernels() -> dict[str, list[Any]]:
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    table: dict[str, list[Any]] = {}
    for kernel in states.get_all_opkernel_def():
        if kernel.domain == "":
            table.setdefault(kernel.op_name, []).append(kernel)
    return table
