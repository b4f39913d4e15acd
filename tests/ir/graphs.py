"""Graphs from text, and one operator at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir

from compiler.ir.evaluate import Evaluator

OPSET = 24


def parse(text: str, opset: int = OPSET) -> ir.Model:
    """A model from ONNX's text syntax; the header may be left away."""
    header = f'<ir_version: 10, opset_import: ["" : {opset}]> g '
    return ir.from_proto(onnx.parser.parse_model(text if text.lstrip().startswith("<") else header + text))


def run(text: str, *inputs: Any, precise: bool = False, opset: int = OPSET) -> Any:
    """The outputs of a graph, without their names; the only one by itself."""
    model = parse(text, opset)
    names = [value.name or "" for value in model.graph.inputs]
    results = list(Evaluator(model, precise=precise)(dict(zip(names, inputs, strict=True))).values())
    return results[0] if len(results) == 1 else results


def compute(
    op_type: str, *inputs: Any, precise: bool = False, opset: int = OPSET, outputs: int = 1, **attributes: Any
) -> Any:
    """One operator on arrays; None is an absent input."""
    arrays = [None if value is None else np.asarray(value) for value in inputs]
    values = [None if array is None else ir.val(f"x{place}", _type(array)) for place, array in enumerate(arrays)]
    node = ir.node(op_type, values, attributes=attributes, num_outputs=outputs)
    for place, value in enumerate(node.outputs):
        value.name = f"y{place}"
    given = [value for value in values if value is not None]
    model = ir.Model(ir.Graph(given, node.outputs, nodes=[node], opset_imports={"": opset}), ir_version=10)
    feeds = {value.name or "": array for value, array in zip(values, arrays, strict=True) if value is not None}
    results = list(Evaluator(model, precise=precise)(feeds).values())
    return results[0] if outputs == 1 else results


def _type(array: np.ndarray) -> ir.DataType:
    return ir.DataType.from_numpy(array.dtype)
