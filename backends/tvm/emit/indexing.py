"""Operators that pick elements by index.

An index counts from the back where it is negative. One that is out of range must never read foreign memory: it is held
at the edge, and the session refuses it beforehand where it comes straight from an input of the model (see checks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import maximum, minimum
from backends.tvm.emit.extents import Extent, divisor, expression, product
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.runtime_sizes import integers, named
from backends.tvm.emit.slicing import slice_axis


def safe_index(index: Any, extent: Any) -> Any:
    """From the front, and within the axis."""
    wide = index.astype("int64")
    from_front = tirx.Select(wide < 0, wide + extent, wide)
    return tirx.max(tirx.min(from_front, extent - 1), tirx.IntImm("int64", 0))


def _front_indices(op: Op, place: int, extent: Extent) -> relax.Expr | None:
    """Constant indices are put right while compiling; None where they are not constant or not in range."""
    constant = op.constant(place)
    if constant is None or not isinstance(extent, int):
        return None
    fixed = np.where(constant < 0, constant + extent, constant).astype(np.int64)
    if fixed.size and (fixed.min() < 0 or fixed.max() >= extent):
        op.refuse(f"an index is outside of 0..{extent - 1}")
    return relax.const(fixed, "int64")


def _gather(op: Op) -> Result:
    axis, extent = op.axis(), op.shape()[op.axis()]
    fixed = _front_indices(op, 1, extent)
    indices = op.x(1) if fixed is None else fixed
    ensure = safe_index if fixed is None else (lambda index, _: index)

    def compute(data: te.Tensor, places: te.Tensor) -> te.Tensor:
        count = len(places.shape)  # 0 for a single index, which takes the axis away
        shape = [*data.shape[:axis], *places.shape, *data.shape[axis + 1 :]]

        def element(*index: Any) -> Any:
            chosen = places(*index[axis : axis + count])
            return data(*index[:axis], ensure(chosen, data.shape[axis]), *index[axis + count :])

        return te.compute(shape, element, name="T_take")

    return op.te(compute, op.x(), indices)


def _gather_elements(op: Op) -> Result:
    axis = op.axis()

    def compute(data: te.Tensor, places: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            chosen = safe_index(places(*index), data.shape[axis])
            return data(*index[:axis], chosen, *index[axis + 1 :])

        return te.compute(places.shape, element, name="T_gather_elements")

    return op.te(compute, op.x(), op.x(1))


def _gather_nd(op: Op) -> Result:
    batch, depth = op.attr("batch_dims", 0), op.shape(1)[-1]
    if not isinstance(depth, int):
        op.refuse("the length of an index is a dynamic dim")

    def compute(data: te.Tensor, places: te.Tensor) -> te.Tensor:
        outer = places.shape[:-1]
        shape = [*outer, *data.shape[batch + depth :]]

        def element(*index: Any) -> Any:
            lead = index[: len(outer)]
            chosen = [safe_index(places(*lead, k), data.shape[batch + k]) for k in range(depth)]
            return data(*index[:batch], *chosen, *index[len(outer) :])

        return te.compute(shape, element, name="T_gather_nd")

    return op.te(compute, op.x(), op.x(1))


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": maximum,
    "min": minimum,
}


def _scatter_elements(op: Op) -> Result:
    """Lines along the axis are independent, so they may run side by side; within a line the updates go in order: of
    repeated indices the last one counts, and sums are the same every time."""
    axis, combine = op.axis(), _combination(op)

    def write(data: Any, places: Any, updates: Any, target: Any) -> None:
        from tvm.script.ir_builder import tirx as T

        shape = updates.shape
        with T.parallel(0, product(extent for place, extent in enumerate(shape) if place != axis)) as line:
            index = unravelled(line, [extent for place, extent in enumerate(shape) if place != axis])
            with T.serial(0, shape[axis]) as step:
                own = (*index[:axis], step, *index[axis:])
                chosen = safe_index(places[own], data.shape[axis])
                goal = (*index[:axis], chosen, *index[axis:])
                T.buffer_store(target, combine(target[goal], updates[own]), list(goal))

    return _scattered(op, write)


def _scatter_nd(op: Op) -> Result:
    """The elements of an update's slice run side by side, the updates one after the other."""
    depth, combine = op.shape(1)[-1], _combination(op)
    if not isinstance(depth, int):
        op.refuse("the length of an index is a dynamic dim")
    outer = op.rank(1) - 1

    def write(data: Any, places: Any, updates: Any, target: Any) -> None:
        from tvm.script.ir_builder import tirx as T

        rows, inner = list(updates.shape[:outer]), list(updates.shape[outer:])
        with T.parallel(0, product(inner)) as line:
            rest = unravelled(line, inner)
            with T.serial(0, product(rows)) as row:
                lead = unravelled(row, rows)
                goal = [safe_index(places[(*lead, k)], data.shape[k]) for k in range(depth)]
                goal += rest
                merged = combine(target[tuple(goal)], updates[(*lead, *rest)])
                T.buffer_store(target, merged, goal)

    return _scattered(op, write)


def _combination(op: Op) -> Callable[[Any, Any], Any]:
    found = _COMBINE.get(op.attr("reduction", "none"))
    if found is None:
        op.refuse(f"there is no reduction '{op.attr('reduction')}'")
    return found


def _scattered(op: Op, write: Callable[[Any, Any, Any, Any], None]) -> relax.Expr:
    """A copy of the data that `write` then changes."""

    def kernel(ins: Any, outs: Any) -> Any:
        from tvm.script.ir_builder import IRBuilder
        from tvm.script.ir_builder import tirx as T

        data, places, updates = ins
        with IRBuilder() as builder:
            with T.seq_scope():
                with T.parallel(0, product(data.shape)) as element:
                    index = tuple(unravelled(element, data.shape))
                    T.buffer_store(outs[0], data[index], list(index))
                write(data, places, updates, outs[0])
            return builder.get()

    def compute(data: te.Tensor, places: te.Tensor, updates: te.Tensor) -> te.Tensor:
        target = tirx.decl_buffer(data.shape, data.dtype, "target", layout=None)
        return te.extern(
            [data.shape],
            [data, places, updates],
            kernel,
            dtype=data.dtype,
            out_buffers=[target],
            name=op.type.lower(),
            tag=op.type.lower(),
        )

    return op.te(compute, op.x(0), op.x(1), op.x(2))


def unravelled(flat: Any, shape: Any) -> list[Any]:
    """The index in each axis of the element that is number `flat` in memory."""
    index: list[Any] = []
    for extent in reversed(list(shape)):
        index.insert(0, tirx.floormod(flat, divisor(extent)))
        flat = tirx.floordiv(flat, divisor(extent))
    return index


def _one_hot(op: Op) -> Result:
    depth, dtype, rank = op.constant(1), op.output_dtype(), op.rank()
    extent = int(depth.item()) if depth is not None else named(op, integers(op, 1))[0]
    axis = op.axis("axis", -1, rank + 1)

    def compute(places: te.Tensor, values: te.Tensor, count: Any) -> te.Tensor:
        shape = [*places.shape[:axis], count, *places.shape[axis:]]

        def element(*index: Any) -> Any:
            chosen = places(*index[:axis], *index[axis + 1 :]).astype("int64")
            chosen = tirx.Select(chosen < 0, chosen + count, chosen)
            return tirx.Select(tirx.EQ(chosen, index[axis]), values(1), values(0)).astype(dtype)

        return te.compute(shape, element, name="T_one_hot")

    return op.te(compute, op.x(0), op.x(2), expression(extent))


# TVM sorts numbers of these types only, and tells when the model runs.
_SORTED = ("float16", "float32", "float64", "int32", "int64")


def sortable(op: Op, x: relax.Expr) -> relax.Expr:
    """Numbers in the same order, of a type that TVM sorts."""
    dtype = str(x.ty.dtype)
    if dtype in _SORTED:
        return x
    if dtype != "uint64":
        return op.emit(relax.op.astype(x, "int64"))

    def shifted(data: te.Tensor) -> te.Tensor:
        highest = tirx.const(1 << 63, dtype)
        return te.compute(data.shape, lambda *i: tirx.bitwise_xor(data(*i), highest).astype("int64"), name="T_shifted")

    return op.te(shifted, x)


def _in_order(op: Op, order: relax.Expr, axis: int) -> relax.Var:
    def compute(data: te.Tensor, places: te.Tensor) -> te.Tensor:
        return te.compute(places.shape, lambda *i: data(*i[:axis], places(*i), *i[axis + 1 :]), name="T_in_order")

    return op.te(compute, op.x(), order)


def _topk(op: Op) -> Result:
    if not op.rank():
        return [op.x(), op.const(0, "int64")]
    known, axis, largest = op.known(1), op.axis("axis", -1), bool(op.attr("largest", 1))
    count = known.ravel()[0] if known is not None else named(op, integers(op, 1))[0]
    source = sortable(op, op.x())
    if isinstance(count, int):
        places = op.emit(relax.op.topk(source, count, axis, "indices", largest, "int64"))
    else:  # all of them in order, and then the first ones
        places = slice_axis(op, op.emit(relax.op.argsort(source, axis, largest, "int64")), axis, 0, count)
    return [_in_order(op, places, axis), places]


EMIT: dict[str, Emit] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TopK": _topk,
}
