"""What an .onnx model decides on its way, for the evaluator that computes its answers. See decisions.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from compiler.frontend.deciding import Values, deciding
from compiler.frontend.decisions import Call, Own, Wide

_NAMES: Mapping[str, str] = {
    "TopK": "topk", "ArgMax": "argmax", "ArgMin": "argmin", "Round": "round", "Floor": "floor", "Ceil": "ceil",
    "Sign": "sign", "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le", "Equal": "eq",
    "Cast": "_to_copy",
}  # fmt: skip
_WHOLE: Mapping[int, torch.dtype] = {
    ir.DataType.INT64: torch.int64,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.UINT8: torch.uint8,
}
# What lies in between may be untyped.
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, None})


def decides(model: ir.Model) -> bool:
    bodies: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
    return any(
        node.domain == "" and node.op_type in _NAMES and any(value and value.dtype in _FLOATS for value in node.inputs)
        for body in bodies
        for node in ir.traversal.RecursiveGraphIterator(body)
        if node.op_type != "Cast" or node.attributes.get_int("to", 0) in _WHOLE
    )


class Looked:
    """Shows the evaluator's operators to who looks at PyTorch's."""

    operators = frozenset(_NAMES)

    def __init__(self, look: Own | Wide) -> None:
        self._look = look

    def __call__(self, node: ir.Node, inputs: Sequence[Any], results: Sequence[Any]) -> Sequence[Any]:
        known = [value for value in (*inputs, *results) if value is not None]
        if not all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in known):
            return results
        name = _NAMES[node.op_type]
        given = _given(node, [None if value is None else _tensor(value) for value in inputs])
        how = deciding(name, "", given)
        if how is None:
            return results
        call = Call(name, how, given, lambda: node.name or node.op_type)
        own = tuple(_tensor(result) for result in results)
        found = self._look.looked(call, own if len(own) > 1 else own[0])
        parts = found if isinstance(found, tuple) else (found,)
        return [part.numpy().astype(was.dtype, copy=False) for part, was in zip(parts, results, strict=True)]


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))  # a copy: torch warns of one that it may not write into


def _given(node: ir.Node, inputs: Sequence[torch.Tensor | None]) -> Values:
    """Its arguments under PyTorch's names."""
    given: dict[str, Any] = {"self": inputs[0]}
    if node.op_type == "TopK":
        assert inputs[1] is not None
        given |= {"k": int(inputs[1].reshape(())), "dim": node.attributes.get_int("axis", -1)}
        given |= {"largest": bool(node.attributes.get_int("largest", 1))}
    elif node.op_type in ("ArgMax", "ArgMin"):
        given["dim"] = node.attributes.get_int("axis", 0)
    elif node.op_type == "Cast":
        given["dtype"] = _WHOLE.get(node.attributes.get_int("to", 0))
    elif len(inputs) > 1:
        given["other"] = inputs[1]
    return given
