"""Sizes that are only known when the model runs.

A small kernel works them out as a tensor of whole numbers, the sizes of the result; from then on each has a name, as
the dims of the inputs have. Negative numbers and wishes ("-1", "0", "as far as the end") are settled within the kernel,
because TVM takes every named size for one that is not negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.extents import Extent, equal, expression
from backends.tvm.emit.op import Op


def whole(value: int) -> Any:
    return tirx.IntImm("int64", value)


def chosen(options: Sequence[Any], place: Any) -> Any:
    """options[place] for a place that is only known in the kernel."""
    result = options[-1]
    for number in range(len(options) - 2, -1, -1):
        result = tirx.Select(equal(place, number), options[number], result)
    return result


def integers(op: Op, place: int) -> relax.Expr:
    """A small input as a vector of int64."""
    x = op.reshape(op.x(place), [length_of(op, place)])
    return x if str(x.ty.dtype) == "int64" else op.emit(relax.op.astype(x, "int64"))


def length_of(op: Op, place: int) -> int:
    shape = op.shape(place)
    count = shape[0] if shape else 1
    if len(shape) > 1 or not isinstance(count, int):
        op.refuse("how many sizes it is given depends on data")
    return count


def vector(op: Op, count: int, element: Callable[..., Sequence[Any]], *inputs: Any) -> relax.Expr:
    """A tensor of `count` whole numbers; `element(*inputs)` gives their formulas."""

    def compute(*given: Any) -> te.Tensor:
        values = list(element(*given))
        return te.compute((count,), lambda i: chosen(values, i), name="T_sizes")

    return op.te(compute, *inputs, name="sizes")


def named(op: Op, sizes: relax.Expr) -> list[Extent]:
    """The elements of a vector as extents."""
    count = int(sizes.ty.shape.values[0])
    if count == 0:
        return []
    names = [tirx.Var(f"size{place}", "int64") for place in range(count)]
    # A call that TVM does not know to be pure ends the block of pure ones: within a block, what uses a name may be
    # moved before what gives it.
    read = relax.Call(relax.ExternFunc("vm.builtin.tensor_to_shape"), [sizes], ty_args=[relax.ShapeType(ndim=count)])
    op.bb.match_cast(op.emit(read), relax.ShapeType(names))
    op.emitter.runtime_sizes.update(names)
    return list(names)


def extents_of(op: Op, place: int) -> list[Any]:
    return [expression(extent) for extent in op.shape(place)]


# -- what single operators ask for ------------------------------------------------------------------------------


def reshaped(op: Op) -> list[Extent]:
    """ONNX's Reshape: 0 keeps a size, -1 takes what is left."""
    count, keeps = length_of(op, 1), not op.attr("allowzero", 0)
    if count == 0:
        return []

    def sizes(source: list[Any], wanted: te.Tensor) -> list[Any]:
        total = whole(1)
        for extent in source:
            total = total * extent
        settled = []
        for place in range(count):
            asked = wanted(place)
            kept = source[place] if keeps and place < len(source) else asked
            settled.append(tirx.Select(equal(asked, 0), kept, asked))
        rest = whole(1)
        for size in settled:
            rest = rest * tirx.Select(equal(size, -1), whole(1), size)
        left = tirx.Select(equal(rest, 0), whole(0), tirx.truncdiv(total, tirx.Select(equal(rest, 0), whole(1), rest)))
        return [tirx.Select(equal(size, -1), left, size) for size in settled]

    return named(op, vector(op, count, sizes, extents_of(op, 0), integers(op, 1)))


def expanded(op: Op) -> list[Extent]:
    count = length_of(op, 1)
    rank = max(count, op.rank(0))

    def sizes(source: list[Any], wanted: te.Tensor) -> list[Any]:
        own = [whole(1)] * (rank - len(source)) + source
        asked = [whole(1)] * (rank - count) + [wanted(place) for place in range(count)]
        return [tirx.Select(equal(a, 1), b, a) for a, b in zip(own, asked, strict=True)]

    return named(op, vector(op, rank, sizes, extents_of(op, 0), integers(op, 1)))


def tiled(op: Op) -> list[Extent]:
    def sizes(source: list[Any], repeats: te.Tensor) -> list[Any]:
        return [extent * repeats(place) for place, extent in enumerate(source)]

    return named(op, vector(op, op.rank(0), sizes, extents_of(op, 0), integers(op, 1)))


def filled(op: Op) -> list[Extent]:
    length_of(op, 0)
    return named(op, integers(op, 0))


def range_count(op: Op) -> Extent:
    """How many numbers there are from start to limit by steps."""

    def count(start: te.Tensor, limit: te.Tensor, step: te.Tensor) -> list[Any]:
        first, last, by = (tensor().astype("float64") for tensor in (start, limit, step))
        steps = tirx.ceil((last - first) / by).astype("int64")
        return [tirx.max(steps, whole(0))]

    scalars = [op.reshape(op.x(place), []) for place in range(3)]
    return named(op, vector(op, 1, count, *scalars))[0]


def without_axes(op: Op, keep: bool) -> list[Extent]:
    """The shape without (or with 1 for) axes that an input names."""
    count, rank = length_of(op, 1), op.rank(0)

    def sizes(source: list[Any], axes: te.Tensor) -> list[Any]:
        gone = [is_named(axes, count, axis, rank) for axis in range(rank)]
        if keep:
            return [tirx.Select(flag, whole(1), extent) for flag, extent in zip(gone, source, strict=True)]
        return [_remaining(source, gone, place) for place in range(rank - count)]

    if not keep and rank == count:
        return []
    return named(op, vector(op, rank if keep else rank - count, sizes, extents_of(op, 0), integers(op, 1)))


def _remaining(source: list[Any], gone: list[Any], place: int) -> Any:
    """The size of the axis that comes to be number `place`, once others have gone."""
    result, before = whole(1), whole(0)
    for flag, extent in zip(gone, source, strict=True):
        here = tirx.all(tirx.Not(flag), equal(before, place))
        result = tirx.Select(here, extent, result)
        before = before + tirx.Select(flag, whole(0), whole(1))
    return result


def with_axes(op: Op) -> list[Extent]:
    """The shape with a 1 at the places that an input names."""
    count = length_of(op, 1)
    rank = op.rank(0) + count

    def sizes(source: list[Any], axes: te.Tensor) -> list[Any]:
        result, before = [], whole(0)
        for place in range(rank):
            new = is_named(axes, count, place, rank)
            old = chosen(source, before) if source else whole(1)
            result.append(tirx.Select(new, whole(1), old))
            before = before + tirx.Select(new, whole(0), whole(1))
        return result

    return named(op, vector(op, rank, sizes, extents_of(op, 0), integers(op, 1)))


def is_named(axes: te.Tensor, count: int, axis: int, rank: int) -> Any:
    found = tirx.const(False, "bool")
    for place in range(count):
        found = tirx.any(found, equal(axes(place), axis), equal(axes(place), axis - rank))
    return found
