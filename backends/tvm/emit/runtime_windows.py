"""Slice, Pad and Split where the borders are only known when the model runs.

Begins and steps stay tensors, which the kernel reads; only the sizes of the result get names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.extents import equal, expression
from backends.tvm.emit.op import Op
from backends.tvm.emit.runtime_sizes import extents_of, integers, is_named, length_of, named, vector, whole


def slice_at_runtime(op: Op) -> relax.Expr:
    rank, count = op.rank(0), length_of(op, 1)
    given = {place: integers(op, place) for place in (3, 4) if op.has(place)}
    inputs = [integers(op, 1), integers(op, 2), *given.values()]

    def plan(source: list[Any], starts: te.Tensor, ends: te.Tensor, *rest: te.Tensor) -> list[Any]:
        tensors = dict(zip(given, rest, strict=True))
        begins, lengths, steps = [], [], []
        for axis, extent in enumerate(source):
            begin, length, step = whole(0), extent, whole(1)
            for place in range(count):
                by = tensors[4](place) if 4 in tensors else whole(1)
                first, amount = _span(extent, starts(place), ends(place), by)
                mine = _is_axis(tensors.get(3), place, axis, rank)
                begin = tirx.Select(mine, first, begin)
                length = tirx.Select(mine, amount, length)
                step = tirx.Select(mine, by, step)
            begins.append(begin)
            lengths.append(length)
            steps.append(step)
        return [*begins, *lengths, *steps]

    whole_plan = vector(op, 3 * rank, plan, extents_of(op, 0), *inputs)
    begins, lengths, steps = (_part(op, whole_plan, start * rank, rank) for start in range(3))

    def compute(data: te.Tensor, sizes: list[Any], begin: te.Tensor, step: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            return data(*(begin(axis) + i * step(axis) for axis, i in enumerate(index)))

        return te.compute(sizes, element, name="T_slice")

    return op.te(compute, op.x(), named(op, lengths), begins, steps)


def _is_axis(axes: te.Tensor | None, place: int, axis: int, rank: int) -> Any:
    if axes is None:
        return tirx.const(place == axis, "bool")
    return tirx.any(equal(axes(place), axis), equal(axes(place), axis - rank))


def _span(extent: Any, start: Any, end: Any, step: Any) -> tuple[Any, Any]:
    def held(place: Any, low: Any, high: Any) -> Any:
        return tirx.max(tirx.min(tirx.Select(place < 0, place + extent, place), high), low)

    forwards = step > 0
    safe = tirx.Select(equal(step, 0), whole(1), step)
    low = held(start, whole(0), tirx.Select(forwards, extent, extent - 1))
    high = held(end, tirx.Select(forwards, whole(0), whole(-1)), tirx.Select(forwards, extent, extent - 1))
    distance = tirx.Select(forwards, high - low, low - high)
    by = tirx.Select(forwards, safe, whole(0) - safe)
    return low, tirx.max(tirx.floordiv(distance + by - 1, by), whole(0))


def _part(op: Op, x: relax.Expr, start: int, count: int) -> relax.Expr:
    return op.te(lambda data: te.compute((count,), lambda i: data(i + start), name="T_part"), x, name="part")


def pads_at_runtime(op: Op) -> tuple[list[Any], relax.Expr]:
    """The sizes of the result, and how many elements come before the data in each axis."""
    rank, pads = op.rank(0), integers(op, 1)
    count = length_of(op, 1) // 2
    axes = [integers(op, 3)] if op.has(3) else []

    def plan(source: list[Any], given: te.Tensor, *named_axes: te.Tensor) -> list[Any]:
        before, after = [whole(0)] * rank, [whole(0)] * rank
        for axis in range(rank):
            for place in range(count):
                mine = _is_axis(named_axes[0] if named_axes else None, place, axis, rank)
                before[axis] = tirx.Select(mine, given(place), before[axis])
                after[axis] = tirx.Select(mine, given(place + count), after[axis])
        sizes = [a + extent + b for a, extent, b in zip(before, source, after, strict=True)]
        return [*sizes, *before]

    both = vector(op, 2 * rank, plan, extents_of(op, 0), pads, *axes)
    return named(op, _part(op, both, 0, rank)), _part(op, both, rank, rank)


def split_at_runtime(op: Op, axis: int) -> list[relax.Expr | None]:
    count = length_of(op, 1)
    lengths = integers(op, 1)

    def starts(given: te.Tensor) -> list[Any]:
        result = [whole(0)]
        for place in range(count - 1):
            result.append(result[-1] + given(place))
        return result

    begins, sizes = vector(op, count, starts, lengths), named(op, lengths)
    return [_piece(op, axis, place, sizes[place], begins) for place in range(count)]


def _piece(op: Op, axis: int, place: int, size: Any, begins: relax.Expr) -> relax.Expr:
    def compute(data: te.Tensor, length: Any, begin: te.Tensor) -> te.Tensor:
        shape = [length if own == axis else extent for own, extent in enumerate(data.shape)]
        return te.compute(
            shape,
            lambda *i: data(*(at + begin(place) if own == axis else at for own, at in enumerate(i))),
            name="T_split",
        )

    return op.te(compute, op.x(), expression(size), begins)


def reduced_at_runtime(
    op: Op, x: relax.Expr, lengths: list[Any], reduce: Callable[[Any, list[Any]], Any], start: Any
) -> relax.Expr:
    """A reduction over axes that an input names, with 1 in the place of each. An axis that stays is read where the
    result stands, one that goes at every place: the sum of both indices, of which one is always 0."""
    rank, count = op.rank(0), length_of(op, 1)

    def spans(source: list[Any], axes: te.Tensor) -> list[Any]:
        return [tirx.Select(is_named(axes, count, axis, rank), extent, whole(1)) for axis, extent in enumerate(source)]

    walked = named(op, vector(op, rank, spans, extents_of(op, 0), integers(op, 1)))

    def compute(data: te.Tensor, sizes: list[Any], walks: list[Any]) -> te.Tensor:
        over = [te.reduce_axis((0, walk), name=f"k{axis}") for axis, walk in enumerate(walks)]
        total = whole(1)
        for walk in walks:
            total = total * walk
        reduced = te.compute(
            sizes,
            lambda *index: reduce(data(*(i + k for i, k in zip(index, over, strict=True))), over),
            name="T_reduce",
        )
        # Where there is nothing to reduce, nothing writes the start value either.
        return te.compute(sizes, lambda *i: tirx.Select(equal(total, 0), start, reduced(*i)), name="T_reduced")

    return op.te(compute, x, lengths, walked)
