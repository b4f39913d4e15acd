"""Outputs of an .onnx model that are indices by value: ArgMax, ArgMin and TopK. See index_outputs.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.cases import Scores
from compiler.contracts import Array, Arrays
from compiler.frontend.candidates import thinned
from compiler.ir.evaluate import Evaluator

# Operators that only move elements of their first input, or change their type.
_MOVES = frozenset(
    {
        "Cast",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_WIDE = frozenset({ir.DataType.INT32, ir.DataType.INT64, None})  # row numbers fit; a value in between may be untyped
_ROWS = "plumbline.rows"


@dataclass(frozen=True)
class _Choice:
    output: str
    indices: str  # the value that the operator gives
    scores: str  # the value that it chooses from
    axis: int


class OnnxIndexOutputs:
    def __init__(self, model: ir.Model) -> None:
        self._choices = tuple(_choices(model))
        if not self._choices:
            return
        names = [choice.scores for choice in self._choices]
        self._evaluators = [Evaluator(_ending_at(model, names), precise=precise) for precise in (False, True)]
        self._indices = Evaluator(_ending_at(model, [choice.indices for choice in self._choices]), precise=False)
        self._moves = {
            choice.output: Evaluator(_starting_at(model, choice), precise=False)
            for choice in self._choices
            if choice.output != choice.indices
        }

    def scores(self, inputs: Arrays, oracle: Arrays) -> dict[str, Scores]:
        if not self._choices:
            return {}
        own, wide = (evaluator(inputs) for evaluator in self._evaluators)
        indices = self._indices(inputs)
        found = {}
        for choice in self._choices:
            moves = self._moves.get(choice.output)
            row = _rows(own[choice.scores], indices[choice.indices], choice.axis)
            if moves is not None:
                row = moves({**inputs, _ROWS: row})[choice.output]
            scores = _by_row(own[choice.scores], choice.axis), _by_row(wide[choice.scores], choice.axis)
            found[choice.output] = thinned(*scores, row, oracle[choice.output])
        return found


def _choices(model: ir.Model) -> Iterator[_Choice]:
    for output in model.graph.outputs:
        value: ir.Value | None = output if output.dtype is not None else None
        while value is not None and value.dtype in _WIDE and (node := value.producer()) is not None:
            if node.domain == "" and node.op_type in ("ArgMax", "ArgMin", "TopK"):
                axis = node.attributes.get_int("axis", -1 if node.op_type == "TopK" else 0)
                scores = node.inputs[0]
                if value is node.outputs[-1] and scores is not None and output.name and value.name and scores.name:
                    yield _Choice(output.name, value.name, scores.name, axis)
                break
            value = node.inputs[0] if node.domain == "" and node.op_type in _MOVES else None


def _ending_at(model: ir.Model, names: list[str]) -> ir.Model:
    clone = model.clone()
    values = {value.name: value for value in _values(clone.graph)}
    clone.graph.outputs[:] = [values[name] for name in dict.fromkeys(names)]
    return _without_the_rest(clone)


def _starting_at(model: ir.Model, choice: _Choice) -> ir.Model:
    """Only what moves the indices, as a function of them."""
    clone = model.clone()
    values: Mapping[str | None, ir.Value] = {value.name: value for value in _values(clone.graph)}
    indices = values[choice.indices]
    rows = ir.Value(name=_ROWS, type=ir.TensorType(ir.DataType.INT64), shape=indices.shape)
    ir.convenience.replace_all_uses_with(indices, rows)
    clone.graph.inputs.append(rows)
    clone.graph.outputs[:] = [values[choice.output]]
    return _without_the_rest(clone)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _without_the_rest(model: ir.Model) -> ir.Model:
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
    return model


def _by_row(scores: Array, axis: int) -> Array:
    return np.moveaxis(scores, axis, -1).reshape(-1, scores.shape[axis])


def _rows(scores: Array, indices: Array, axis: int) -> Array:
    """For each index, which row it points into."""
    others = [size for place, size in enumerate(scores.shape) if place != axis % scores.ndim]
    rows = np.arange(int(np.prod(others))).reshape(others)
    return np.broadcast_to(np.expand_dims(rows, axis), indices.shape) if indices.ndim == scores.ndim else rows
