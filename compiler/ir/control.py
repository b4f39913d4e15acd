"""If, Loop, Scan and SequenceMap: the operators that run graphs of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.precision import Precision
from compiler.ir.program import Program, Runner
from compiler.ir.subgraphs import subgraphs_of

Build = Callable[[ir.Graph], Program]


class _Control:
    def __init__(self, node: ir.Node, build: Build, precision: Precision) -> None:
        self._node = node
        self._precision = precision
        self._programs = {graph: build(graph) for graph in subgraphs_of(node)}
        self.captured = tuple(dict.fromkeys(value for one in self._programs.values() for value in one.captured))

    def _program(self, attribute: str) -> Program:
        return self._programs[self._node.attributes[attribute].as_graph()]


class _If(_Control):
    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        (condition,) = inputs
        if condition.size != 1:
            raise ValueError(f"the condition has {condition.size} elements")
        return self._program("then_branch" if condition.item() else "else_branch")([], environment)


class _Loop(_Control):
    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        limit, condition, *state = (*inputs, None, None)[: max(2, len(inputs))]
        body = self._program("body")
        collected: list[list[Array]] = [[] for _ in body.outputs[1 + len(state) :]]
        going = condition is None or bool(condition)
        step = 0
        while going and (limit is None or step < int(limit)):
            going_in = np.asarray(going)
            results = body([np.asarray(step, np.int64), going_in, *state], environment)
            going, state = bool(results[0]), results[1 : 1 + len(state)]
            for rows, row in zip(collected, results[1 + len(state) :], strict=True):
                rows.append(row)
            step += 1
        shapes = body.outputs[1 + len(state) :]
        return [*state, *(self._stacked(rows, value) for rows, value in zip(collected, shapes, strict=True))]

    def _stacked(self, rows: list[Array], value: ir.Value | None) -> Array:
        return np.stack(rows) if rows else _no_rows(value, self._precision)


def _no_rows(value: ir.Value | None, precision: Precision) -> Array:
    """The scan output of a loop that never ran, as far as its type is declared."""
    if value is None or value.dtype is None:
        raise ValueError("a loop without iterations has a scan output of unknown type")
    sizes = [dim if isinstance(dim, int) else 0 for dim in value.shape] if value.shape is not None else []
    return np.zeros([0, *sizes], precision.data_type(value.dtype).numpy())


class _Scan(_Control):
    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        if "num_scan_inputs" not in self._node.attributes or len(inputs) != len(self._program("body").inputs):
            raise ValueError("Scan as it was before opset 9, with a batch axis, is not supported")
        body, scanned = self._program("body"), self._node.attributes["num_scan_inputs"].as_int()
        state, sequences = list(inputs[: len(inputs) - scanned]), inputs[len(inputs) - scanned :]
        collected: list[list[Array]] = [[] for _ in body.outputs[len(state) :]]
        axes, backward = self._ints("scan_input_axes", scanned), self._ints("scan_input_directions", scanned)
        lengths = {array.shape[axis] for array, axis in zip(sequences, axes, strict=True)}
        if len(lengths) != 1:
            raise ValueError(f"the scanned inputs have different lengths: {sorted(lengths)}")
        for row in zip(*map(_rows, sequences, axes, backward), strict=True):
            results = body([*state, *row], environment)
            state = results[: len(state)]
            for rows, result in zip(collected, results[len(state) :], strict=True):
                rows.append(result)
        return [*state, *self._outputs(collected, body.outputs[len(state) :])]

    def _outputs(self, collected: list[list[Array]], values: Sequence[ir.Value | None]) -> Iterator[Array]:
        axes = self._ints("scan_output_axes", len(collected))
        backward = self._ints("scan_output_directions", len(collected))
        for rows, value, axis, reverse in zip(collected, values, axes, backward, strict=True):
            if rows:
                yield np.stack(rows[::-1] if reverse else rows, axis=axis)
            else:
                yield np.moveaxis(_no_rows(value, self._precision), 0, axis)

    def _ints(self, name: str, count: int) -> Sequence[int]:
        return self._node.attributes.get_ints(name, (0,) * count)


def _rows(array: Array, axis: int, backward: int) -> Iterator[Array]:
    places = range(array.shape[axis])
    return (np.take(array, place, axis=axis) for place in (reversed(places) if backward else places))


class _SequenceMap(_Control):
    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        body, first = self._program("body"), inputs[0]
        rows = []
        for place in range(len(first)):
            given = [value[place] if isinstance(value, list) else value for value in inputs]
            rows.append(body(given, environment))
        return [[row[place] for row in rows] for place in range(len(body.outputs))]


_CONTROLS: dict[str, type[_If] | type[_Loop] | type[_Scan] | type[_SequenceMap]] = {
    "If": _If,
    "Loop": _Loop,
    "Scan": _Scan,
    "SequenceMap": _SequenceMap,
}


def control_runner(node: ir.Node, build: Build, precision: Precision) -> Runner | None:
    """What runs a node with subgraphs, or None for any other node."""
    control = _CONTROLS.get(node.op_type) if node.domain == "" else None
    return None if control is None else control(node, build, precision)
