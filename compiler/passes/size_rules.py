"""The sizes of what a node gives, from the sizes of what it takes: for operators whose dims keep their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import input_of, ints, small_ints
from compiler.passes.shape_contents import Content, Contents
from compiler.passes.sizes import Size

Sizes = tuple[Size | None, ...]


@dataclass(frozen=True)
class Known:
    """What shape arithmetic came to, and the largest value that a named dim takes."""

    contents: Contents
    largest: Mapping[str, int]


Rule = Callable[[ir.Node, Known], Sizes | None]

_ONE = Size.of(1)


def sizes_after(node: ir.Node, known: Known) -> Sizes | None:
    """The dims of a node's first output; None where nothing is known of them."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    return rule(node, known) if rule is not None else None


def _same(node: ir.Node, known: Known) -> Sizes | None:
    return sizes_of(node.inputs[0])


def _broadcast(node: ir.Node, known: Known) -> Sizes | None:
    result: Sizes | None = ()
    for value in node.inputs:
        sizes = sizes_of(value)
        result = _stretched(result, sizes) if result is not None and sizes is not None else None
    return result


def _stretched(left: Sizes, right: Sizes) -> Sizes:
    length = max(len(left), len(right))
    pairs = zip(_aligned(left, length), _aligned(right, length), strict=True)
    return tuple(_wider(one, other) for one, other in pairs)


def _aligned(sizes: Sizes, length: int) -> Sizes:
    return (_ONE,) * (length - len(sizes)) + sizes


def _wider(one: Size | None, other: Size | None) -> Size | None:
    """Of two dims of which either may be 1."""
    if one == other or other == _ONE:
        return one
    if one == _ONE:
        return other
    return next((size for size in (one, other) if size is not None and size.number is not None), None)


def _matmul(node: ir.Node, known: Known) -> Sizes | None:
    left, right = sizes_of(node.inputs[0]), sizes_of(node.inputs[1])
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    return (*_stretched(left[:-2], right[:-2]), left[-2], right[-1])


def _transpose(node: ir.Node, known: Known) -> Sizes | None:
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return None
    order = node.attributes.get_ints("perm", None) or range(len(sizes))[::-1]
    return tuple(sizes[axis] for axis in order)


def _reshape(node: ir.Node, known: Known) -> Sizes | None:
    source, target = sizes_of(node.inputs[0]), known.contents.of(input_of(node, 1))
    if target is None:
        return None
    wanted: list[Size | None] = list(target.sizes)
    for place, size in enumerate(wanted):
        if size == Size.of(0) and not node.attributes.get_int("allowzero", 0):
            wanted[place] = source[place] if source is not None and place < len(source) else None
    if Size.of(-1) in wanted:
        place = wanted.index(Size.of(-1))
        wanted[place] = None
        wanted[place] = _left_over(source, [*wanted[:place], *wanted[place + 1 :]])
    return tuple(wanted)


def _left_over(source: Sizes | None, taken: Sequence[Size | None]) -> Size | None:
    """What remains of all elements for one dim. A dim that both have is no matter, whatever it is."""
    if source is None:
        return None
    whole, parts = list(source), []
    for size in taken:
        if size is not None and size in whole:
            whole.remove(size)
        else:
            parts.append(size)
    total, divisor = _product(whole), _product(parts)
    return total.divided(divisor) if total is not None and divisor is not None else None


def _product(sizes: Sequence[Size | None]) -> Size | None:
    product = _ONE
    for size in sizes:
        if size is None:
            return None
        product = product * size
    return product


def _expand(node: ir.Node, known: Known) -> Sizes | None:
    source, target = sizes_of(node.inputs[0]), known.contents.of(input_of(node, 1))
    return _stretched(source, target.sizes) if source is not None and target is not None else None


def _tile(node: ir.Node, known: Known) -> Sizes | None:
    source, times = sizes_of(node.inputs[0]), known.contents.of(input_of(node, 1))
    if source is None or times is None or len(source) != len(times.sizes):
        return None
    return tuple(
        None if size is None or count is None else size * count for size, count in zip(source, times.sizes, strict=True)
    )


def _unsqueeze(node: ir.Node, known: Known) -> Sizes | None:
    sizes, axes = sizes_of(node.inputs[0]), ints(node, "axes", 1)
    if sizes is None or axes is None:
        return None
    length = len(sizes) + len(axes)
    new = {axis % length for axis in axes}
    rest = iter(sizes)
    return tuple(_ONE if place in new else next(rest) for place in range(length))


def _squeeze(node: ir.Node, known: Known) -> Sizes | None:
    sizes, axes = sizes_of(node.inputs[0]), ints(node, "axes", 1)
    if sizes is None or axes is None:
        return None
    gone = {axis % len(sizes) for axis in axes}
    return tuple(size for place, size in enumerate(sizes) if place not in gone)


def _concat(node: ir.Node, known: Known) -> Sizes | None:
    parts = [sizes_of(value) for value in node.inputs]
    present = [sizes for sizes in parts if sizes is not None]
    if len(present) < len(parts) or not present or not present[0]:
        return None
    axis = node.attributes.get_int("axis", 0) % len(present[0])
    result = [next((size for size in column if size is not None), None) for column in zip(*present, strict=True)]
    total: Size | None = Size.of(0)
    for sizes in present:
        total = total + along if total is not None and (along := sizes[axis]) is not None else None
    result[axis] = total
    return tuple(result)


def _slice(node: ir.Node, known: Known) -> Sizes | None:
    sizes, starts = sizes_of(node.inputs[0]), small_ints(input_of(node, 1))
    ends = known.contents.of(input_of(node, 2))
    if sizes is None or starts is None or ends is None:
        return None
    axes = list(range(len(starts))) if input_of(node, 3) is None else small_ints(input_of(node, 3))
    steps = [1] * len(starts) if input_of(node, 4) is None else small_ints(input_of(node, 4))
    if axes is None or steps is None:
        return None
    result = list(sizes)
    for axis, start, end, step in zip(axes, starts, ends.sizes, steps, strict=True):
        result[axis] = _cut(sizes[axis], start, end, step, known)
    return tuple(result)


_TO_THE_END = 2**31 - 1


def _cut(size: Size | None, start: int, end: Size | None, step: int, known: Known) -> Size | None:
    whole, last = (None if side is None else side.number for side in (size, end))
    if whole is not None and last is not None:
        return Size.of(len(range(whole)[start:last:step]))
    if start != 0 or step != 1 or end is None:
        return None
    if last is not None:
        return size if last >= _TO_THE_END else None
    # Up to a named size that never is more than there is.
    most = known.largest.get(str(end))
    return end if whole is not None and most is not None and most <= whole else None


def _gather(node: ir.Node, known: Known) -> Sizes | None:
    data, indices = sizes_of(node.inputs[0]), sizes_of(node.inputs[1])
    if data is None or indices is None or not data:
        return None
    axis = node.attributes.get_int("axis", 0) % len(data)
    return (*data[:axis], *indices, *data[axis + 1 :])


def _like_indices(node: ir.Node, known: Known) -> Sizes | None:
    return sizes_of(node.inputs[1])


def _flatten(node: ir.Node, known: Known) -> Sizes | None:
    sizes, axis = sizes_of(node.inputs[0]), node.attributes.get_int("axis", 1)
    return None if sizes is None else (_product(sizes[:axis]), _product(sizes[axis:]))


def _reduce(node: ir.Node, known: Known) -> Sizes | None:
    sizes, axes = sizes_of(node.inputs[0]), ints(node, "axes", 1)
    if sizes is None or not axes:
        return None
    gone = {axis % len(sizes) for axis in axes}
    if node.attributes.get_int("keepdims", 1):
        return tuple(_ONE if place in gone else size for place, size in enumerate(sizes))
    return tuple(size for place, size in enumerate(sizes) if place not in gone)


def _range(node: ir.Node, known: Known) -> Sizes | None:
    """Counted up from 0, one by one, it is as long as its limit."""
    first, limit, step = (_one(known.contents.of(value)) for value in node.inputs)
    return (limit,) if first == Size.of(0) and step == _ONE else (None,)


def _one(content: Content | None) -> Size | None:
    return content.sizes[0] if content is not None and len(content.sizes) == 1 else None


def _filled(node: ir.Node, known: Known) -> Sizes | None:
    target = known.contents.of(node.inputs[0])
    return target.sizes if target is not None else None


def _names(rule: Rule, text: str) -> dict[str, Rule]:
    return dict.fromkeys(text.split(), rule)


_RULES: dict[str, Rule] = {
    **_names(_same, "Identity Cast Neg Abs Sqrt Reciprocal Exp Log Erf Tanh Sigmoid Relu Sin Cos Not IsNaN Softmax"),
    **_names(_same, "Clip Dropout LayerNormalization RMSNormalization Gelu Swish HardSwish Softplus CumSum Softsign"),
    **_names(_same, "InstanceNormalization GroupNormalization BatchNormalization LogSoftmax LeakyRelu Elu"),
    **_names(_broadcast, "Add Sub Mul Div Pow Where And Or Xor Min Max Mod"),
    **_names(_broadcast, "Equal Less Greater LessOrEqual GreaterOrEqual"),
    **_names(_reduce, "ReduceMean ReduceSum ReduceMax ReduceMin"),
    "MatMul": _matmul,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _like_indices,
    "Flatten": _flatten,
    "Range": _range,
    "ConstantOfShape": _filled,
}
