"""Reshape targets: the constant that says "this shape" for every size of the named dims."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from compiler.passes.rewriting import dims
from compiler.passes.sizes import Size


def sizes_of(value: ir.Value | None) -> tuple[Size | None, ...] | None:
    """The dims of a value as sizes."""
    known = dims(value)
    return None if known is None else tuple(None if dim is None else Size.of(dim) for dim in known)


def constant_target(
    source: Sequence[Size | None], wanted: Sequence[Size | None], never_zero: set[str]
) -> list[int] | None:
    """What Reshape takes to make `wanted` of `source`: numbers, 0 where a dim is kept, and one -1 at most.

    -1 cannot be told beside a dim that is 0 while the model runs, so every dim that is kept beside it must be made
    of names that are at least 1.
    """
    target = []
    for place, size in enumerate(wanted):
        number = None if size is None else size.number
        if number is not None:
            if number <= 0:
                return None
            target.append(number)
        elif size is not None and place < len(source) and source[place] == size:
            target.append(0)
        else:
            target.append(-1)
    if target.count(-1) > 1:
        return None
    if -1 in target:
        kept = [size for size, number in zip(wanted, target, strict=True) if number == 0 and size is not None]
        if any(not size.names <= never_zero or any(count < 0 for _, count in size.terms) for size in kept):
            return None
    return target


def closed(source: Sequence[Size | None], wanted: Sequence[Size | None]) -> tuple[Size | None, ...]:
    """`wanted` with its one open dim filled in, if it is a number: what the others leave of all elements."""
    left: Size | None = Size.of(1)
    for size in source:
        left = None if left is None or size is None else left * size
    for size in wanted:
        left = left.divided(size) if left is not None and size is not None and size.terms else left
    if list(wanted).count(None) != 1 or left is None or left.number is None:
        return tuple(wanted)
    return tuple(left if size is None else size for size in wanted)


# In a model's `meta`: the names of dims whose range starts at 0.
MAY_BE_EMPTY = "plumbline.may_be_empty"


def names_of_inputs(model: ir.Model) -> set[str]:
    """Dims of the model's inputs, as far as they are at least 1."""
    found: set[str] = set()
    for value in model.graph.inputs:
        for dim in dims(value) or ():
            if isinstance(dim, str):
                found |= Size.of(dim).names
    return found - set(model.meta.get(MAY_BE_EMPTY, ()))
