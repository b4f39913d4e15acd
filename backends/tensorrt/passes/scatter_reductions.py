"""Scatter[op](data, i, u)[n] = data[n] op (the reduction of u[k] over all k with i[k] = n).

TensorRT scatters, but reduces nothing while it does. So every row looks at every update, and takes those that are not
its own as what changes nothing under op:

    result[n] = data[n] op reduce over k of (u[k] if i[k] = n else neutral)

It is one chain of elementwise work that ends in a reduction, which a compiler can run without ever holding the table
of rows by updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from backends.tensorrt.passes.replacement import Replacement
from compiler.passes.declined import Declining

_OPERATORS = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
_REDUCERS = {"Add": "ReduceSum", "Mul": "ReduceProd", "Max": "ReduceMax", "Min": "ReduceMin"}
# A scatter with an index of its own for each element compares them all with each other.
_MOST_ELEMENTS = 4096


@dataclass(frozen=True)
class _Rows:
    """A scatter as one over rows: `data` [N, ...], `targets` [K], `updates` [K, ...], and the way back."""

    data: ir.Value
    targets: ir.Value
    updates: ir.Value
    width: int  # how many axes a row has
    back: tuple[int, ...] | None = None  # a permutation
    reshaped: bool = False  # to the shape of the original data


class ScatterReductions(Declining, ir.passes.InPlacePass):
    """Every ScatterND and ScatterElements with a reduction."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in list(graph):
                if node.domain == "" and node.op_type in ("ScatterND", "ScatterElements"):
                    operator = _OPERATORS.get(node.attributes.get_string("reduction", "none") or "none")
                    modified |= operator is not None and self._rewrite(node, operator)
        return ir.passes.PassResult(model, modified)

    def _rewrite(self, node: ir.Node, operator: str) -> bool:
        new = Replacement(node)
        data, updates = node.inputs[0], node.inputs[2]
        assert data is not None and updates is not None
        if data.dtype is None or data.shape is None or updates.shape is None:
            self.decline(node, "its shapes or types are not known")
            return False
        rows = _nd_rows(new, node) if node.op_type == "ScatterND" else _element_rows(new, node)
        if isinstance(rows, str):
            self.decline(node, rows)
            return False
        result = _reduced(new, rows, operator, data.dtype)
        if rows.back is not None:
            result = new("Transpose", result, perm=rows.back)
        if rows.reshaped:
            result = new("Reshape", result, new("Shape", data))
        new.finish(result)
        return True


def _reduced(new: Replacement, rows: _Rows, operator: str, dtype: ir.DataType) -> ir.Value:
    first, second = new.constant([0]), new.constant([1])
    height = new("Squeeze", new("Slice", new("Shape", rows.data), first, second), first)
    each = new("Unsqueeze", new("Range", new.constant(0), height, new.constant(1)), second)
    hits = new("Equal", each, new("Unsqueeze", rows.targets, first))  # [N, K]
    if rows.width:
        hits = new("Unsqueeze", hits, new.constant(range(2, 2 + rows.width)))
    neutral = new.constant(_neutral(operator, dtype), dtype.numpy())
    received = new("Where", hits, new("Unsqueeze", rows.updates, first), neutral)  # [N, K, ...]
    return new(operator, rows.data, new(_REDUCERS[operator], received, second, keepdims=0))


def _neutral(operator: str, dtype: ir.DataType) -> float | int:
    if operator in ("Add", "Mul"):
        return 0 if operator == "Add" else 1
    if dtype.is_floating_point():
        return -math.inf if operator == "Max" else math.inf
    limits = np.iinfo(dtype.numpy())
    return int(limits.min if operator == "Max" else limits.max)


def _nd_rows(new: Replacement, node: ir.Node) -> _Rows | str:
    data, indices, updates = node.inputs
    assert data is not None and data.shape is not None and indices is not None and updates is not None
    if indices.shape is None or not isinstance(indices.shape[-1], int):
        return "how many axes its indices select is not known"
    depth = indices.shape[-1]
    sizes = data.shape[:depth]
    fixed = [size for size in sizes[1:] if isinstance(size, int)]
    if len(fixed) != depth - 1:
        return "the sizes of the axes that its indices select are not known"
    if len(indices.shape) == 2 and depth == 1:
        targets = new("Squeeze", indices, new.constant([1]))
        height = new("Slice", new("Shape", data), *_bounds(new, 0, 1))
        return _Rows(data, _wrapped(new, targets, height), updates, len(data.shape) - 1)
    strides = [math.prod(fixed[axis:]) for axis in range(depth)]
    heights = new("Slice", new("Shape", data), *_bounds(new, 0, depth))
    parts = new("Mul", _wrapped(new, indices, heights), new.constant(strides))
    targets = new("Reshape", new("ReduceSum", parts, new.constant([-1]), keepdims=0), new.constant([-1]))
    rest = new("Slice", new("Shape", data), *_bounds(new, depth, 99))
    flat = new("Concat", new.constant([-1]), rest, axis=0)
    return _Rows(
        new("Reshape", data, flat), targets, new("Reshape", updates, flat), len(data.shape) - depth, reshaped=True
    )


def _element_rows(new: Replacement, node: ir.Node) -> _Rows | str:
    data, indices, updates = node.inputs
    assert data is not None and data.shape is not None
    assert indices is not None and updates is not None and updates.shape is not None
    rank = len(data.shape)
    axis = node.attributes.get_int("axis", 0) or 0
    axis += rank if axis < 0 else 0
    vector = _row_indices(indices, axis, rank)
    same_width = all(data.shape[other] == updates.shape[other] for other in range(rank) if other != axis)
    if vector is None or not same_width:
        return _flat_rows(new, data, indices, updates, axis)
    height = new("Slice", new("Shape", data), *_bounds(new, axis, axis + 1))
    targets = _wrapped(new, new("Reshape", vector, new.constant([-1])), height)
    if axis == 0:
        return _Rows(data, targets, updates, rank - 1)
    order = (axis, *(other for other in range(rank) if other != axis))
    back = tuple(int(place) for place in np.argsort(order))
    data, updates = new("Transpose", data, perm=order), new("Transpose", updates, perm=order)
    return _Rows(data, targets, updates, rank - 1, back)


def _row_indices(indices: ir.Value, axis: int, rank: int) -> ir.Value | None:
    """Indices that are the same all along a row, before they were expanded to its width."""
    if rank == 1:
        return indices
    producer = indices.producer()
    if producer is None or producer.op_type != "Expand" or producer.domain != "":
        return None
    source = producer.inputs[0]
    if source is None or source.shape is None or len(source.shape) != rank:
        return None
    narrow = all(source.shape[other] == 1 for other in range(rank) if other != axis)
    return source if narrow and source.shape[axis] != 1 else None


def _flat_rows(new: Replacement, data: ir.Value, indices: ir.Value, updates: ir.Value, axis: int) -> _Rows | str:
    """Every element is a row of its own."""
    assert data.shape is not None and updates.shape is not None
    if not (data.shape.is_static() and updates.shape.is_static()):
        return "it has an index for each element, and its shape is not fixed"
    height, shape = data.shape.numpy(), updates.shape.numpy()
    if math.prod(shape) > _MOST_ELEMENTS:
        return f"it has an index for each of {math.prod(shape)} elements, which would all be compared with each other"
    strides = [math.prod(height[other + 1 :]) for other in range(len(height))]
    grid = np.indices(shape, np.int64)
    others = sum(
        (grid[other] * strides[other] for other in range(len(shape)) if other != axis), np.zeros(shape, np.int64)
    )
    wrapped = _wrapped(new, indices, new.constant([height[axis]]))
    targets = new("Add", new("Mul", wrapped, new.constant(strides[axis])), new.constant(others))
    flat = new.constant([-1])
    data, targets, updates = (new("Reshape", value, flat) for value in (data, targets, updates))
    return _Rows(data, targets, updates, 0, reshaped=True)


def _wrapped(new: Replacement, indices: ir.Value, height: ir.Value) -> ir.Value:
    """Negative indices count from the end."""
    if indices.dtype is not ir.DataType.INT64:
        indices = new("Cast", indices, to=ir.DataType.INT64)
    return new("Where", new("Less", indices, new.constant(0)), new("Add", indices, height), indices)


def _bounds(new: Replacement, start: int, end: int) -> tuple[ir.Value, ir.Value]:
    return new.constant([start]), new.constant([end])
