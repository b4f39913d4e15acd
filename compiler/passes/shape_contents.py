"""What small tensors of whole numbers hold, in terms of named dims: the values of shape arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import constant, input_of, ints, is_constant, rank, small_ints
from compiler.passes.sizes import Size

_LIMIT = 64  # elements; shapes are short
_WHOLE = (ir.DataType.INT64, ir.DataType.INT32)


@dataclass(frozen=True)
class Content:
    """The elements of a scalar (rank 0) or a list (rank 1); None where one is not known."""

    rank: int
    sizes: tuple[Size | None, ...]

    @property
    def known(self) -> bool:
        return None not in self.sizes

    def numbers(self) -> list[int] | None:
        found = [size.number for size in self.sizes if size is not None]
        numbers = [number for number in found if number is not None]
        return numbers if len(numbers) == len(self.sizes) else None


class Contents:
    """Learns node by node, producers first."""

    def __init__(self) -> None:
        self._found: dict[ir.Value, Content] = {}

    def of(self, value: ir.Value | None) -> Content | None:
        if value is None:
            return None
        if is_constant(value):
            numbers, known = small_ints(value, _LIMIT), rank(value)
            if numbers is None or known is None or known > 1:
                return None
            return Content(known, tuple(map(Size.of, numbers)))
        return self._found.get(value)

    def learn(self, node: ir.Node) -> Content | None:
        """The content of a node's result, if it is shape arithmetic."""
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        content = rule(self, node) if rule is not None else None
        if content is None or len(content.sizes) > _LIMIT:
            return None
        self._found[node.outputs[0]] = content
        return content


def _shape(contents: Contents, node: ir.Node) -> Content | None:
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes))
    return Content(1, sizes[start:end])


def _size(contents: Contents, node: ir.Node) -> Content | None:
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return None
    product: Size | None = Size.of(1)
    for size in sizes:
        product = None if product is None or size is None else product * size
    return Content(0, (product,))


def _gather(contents: Contents, node: ir.Node) -> Content | None:
    source, places = contents.of(node.inputs[0]), input_of(node, 1)
    indices, kind = small_ints(places), rank(places)
    if source is None or source.rank != 1 or indices is None or kind is None or kind > 1:
        return None
    count = len(source.sizes)
    if any(not -count <= index < count for index in indices):
        return None
    return Content(kind, tuple(source.sizes[index] for index in indices))


def _slice(contents: Contents, node: ir.Node) -> Content | None:
    source, starts, ends = contents.of(node.inputs[0]), ints(node, "starts", 1), ints(node, "ends", 2)
    steps = small_ints(input_of(node, 4)) if input_of(node, 4) is not None else [1]
    if source is None or source.rank != 1 or not starts or not ends or not steps or len(starts) != 1:
        return None
    if steps[0] < 1:
        return None
    return Content(1, source.sizes[starts[0] : ends[0] : steps[0]])


def _concat(contents: Contents, node: ir.Node) -> Content | None:
    parts: list[Size | None] = []
    for value in node.inputs:
        content = contents.of(value)
        if content is not None:
            parts.extend(content.sizes)
            continue
        length = value.shape[0] if value is not None and value.shape is not None and rank(value) == 1 else None
        if not isinstance(length, int) or length > _LIMIT:
            return None
        parts.extend([None] * length)
    return Content(1, tuple(parts))


def _to_list(contents: Contents, node: ir.Node) -> Content | None:
    """Unsqueeze of a scalar."""
    source, axes = contents.of(node.inputs[0]), ints(node, "axes", 1)
    return Content(1, source.sizes) if source is not None and source.rank == 0 and len(axes or ()) == 1 else None


def _to_scalar(contents: Contents, node: ir.Node) -> Content | None:
    """Squeeze of a list of one."""
    source = contents.of(node.inputs[0])
    return Content(0, source.sizes) if source is not None and source.rank == len(source.sizes) == 1 else None


def _reshaped(contents: Contents, node: ir.Node) -> Content | None:
    source, target = contents.of(node.inputs[0]), small_ints(input_of(node, 1))
    if source is None or target is None or len(target) > 1 or 0 in target:
        return None
    return Content(len(target), source.sizes)


def _same(contents: Contents, node: ir.Node) -> Content | None:
    return contents.of(node.inputs[0])


def _cast(contents: Contents, node: ir.Node) -> Content | None:
    source = node.inputs[0]
    wide = source is not None and source.dtype in _WHOLE and node.attributes.get_int("to", 0) in _WHOLE
    return contents.of(source) if wide else None


Binary = Callable[[Size, Size], Size | None]


def _elementwise(compute: Binary) -> Callable[[Contents, ir.Node], Content | None]:
    def rule(contents: Contents, node: ir.Node) -> Content | None:
        left, right = contents.of(node.inputs[0]), contents.of(node.inputs[1])
        if left is None or right is None:
            return None
        pairs = _paired(left.sizes, right.sizes)
        if pairs is None:
            return None
        results = tuple(None if a is None or b is None else compute(a, b) for a, b in pairs)
        return Content(max(left.rank, right.rank), results)

    return rule


def _paired(left: Sequence[Size | None], right: Sequence[Size | None]) -> list[tuple[Size | None, Size | None]] | None:
    length = max(len(left), len(right))
    if {len(left), len(right)} - {1, length} or not left or not right:
        return None
    stretched = (side if len(side) == length else list(side) * length for side in (left, right))
    return list(zip(*stretched, strict=True))


def _equal(left: Size, right: Size) -> Size | None:
    """1 or 0 where that is certain: no size is negative."""
    if left == right:
        return Size.of(1)
    apart = (left - right).number
    if apart is not None:
        return Size.of(0)
    for size, other in ((left, right), (right, left)):
        number = other.number
        if number is not None and number < 0 and all(count > 0 for _, count in size.terms):
            return Size.of(0)
    return None


def _where(contents: Contents, node: ir.Node) -> Content | None:
    choice, yes, no = (contents.of(value) for value in node.inputs)
    if choice is None:
        choice = _known_choice(node.inputs[0])
    if choice is None or yes is None or no is None:
        return None
    length = max(len(choice.sizes), len(yes.sizes), len(no.sizes))
    rows = [side.sizes * length if len(side.sizes) == 1 else side.sizes for side in (choice, yes, no)]
    if any(len(row) != length for row in rows):
        return None
    picked = [
        b if a == Size.of(1) else c if a == Size.of(0) else b if b == c else None for a, b, c in zip(*rows, strict=True)
    ]
    return Content(max(choice.rank, yes.rank, no.rank), tuple(picked))


def _known_choice(value: ir.Value | None) -> Content | None:
    array = constant(value)
    if array is None or array.ndim > 1 or array.size > _LIMIT:
        return None
    return Content(array.ndim, tuple(Size.of(int(element)) for element in array.reshape(-1)))


def _filled(contents: Contents, node: ir.Node) -> Content | None:
    target = contents.of(node.inputs[0])
    length = target.numbers() if target is not None else None
    value = node.attributes.get_tensor("value", None)
    if length is None or len(length) != 1 or not 0 <= length[0] <= _LIMIT or value is None:
        return None
    if value.dtype not in _WHOLE:
        return None
    return Content(1, (Size.of(int(value.numpy().reshape(-1)[0])),) * length[0])


_RULES: dict[str, Callable[[Contents, ir.Node], Content | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _to_list,
    "Squeeze": _to_scalar,
    "Reshape": _reshaped,
    "Identity": _same,
    "Cast": _cast,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(lambda a, b: a.divided(b)),
    "Equal": _elementwise(_equal),
    "Where": _where,
    "ConstantOfShape": _filled,
}
