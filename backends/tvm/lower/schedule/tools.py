"""What the schedules share. A schedule that does not fit raises UnfitError; the next one is tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tvm import s_tir, tirx

# What one thread must have to do before waking the others pays, in elements or multiply-adds.
WORTH_A_THREAD = 16384

Loop = Any
Block = Any


class UnfitError(Exception):
    """A schedule cannot be used here; the message says why."""


def extent(sch: s_tir.Schedule, loop: Loop) -> int | None:
    """A loop's length, None where it is only known when the model runs."""
    value = sch.get(loop).extent
    return int(value) if isinstance(value, tirx.IntImm) else None


def product(extents: Iterable[int | None], unknown: int) -> int:
    total = 1
    for size in extents:
        total *= unknown if size is None else size
    return total


def blocks_of(sch: s_tir.Schedule) -> list[Block]:
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def axis_kinds(sch: s_tir.Schedule, block: Block) -> tuple[int, int, int]:
    """How many axes of a block are spatial, reductions, and neither."""
    kinds = [axis.iter_type for axis in sch.get(block).iter_vars]
    spatial, reductions = kinds.count(0), kinds.count(2)
    return spatial, reductions, len(kinds) - spatial - reductions


def split_loops(sch: s_tir.Schedule, block: Block) -> tuple[list[Loop], list[Loop]]:
    """A block's own loops, spatial and reductions, where each axis is still one loop."""
    loops, axes = list(sch.get_loops(block)), list(sch.get(block).iter_vars)
    if len(loops) != len(axes):
        raise UnfitError("its loops are not its axes")
    if any(axis.iter_type not in (0, 2) for axis in axes):
        raise UnfitError("an axis is neither spatial nor a reduction")
    spatial = [loop for loop, axis in zip(loops, axes, strict=True) if axis.iter_type == 0]
    return spatial, [loop for loop, axis in zip(loops, axes, strict=True) if axis.iter_type == 2]


def vectorize(sch: s_tir.Schedule, loop: Loop, lanes: int) -> Loop | None:
    """Vectors where the length is a multiple of their width, and the loop over them; LLVM finds its own way otherwise.

    A predicate on single lanes would make TVM unroll the whole loop into scalars.
    """
    size = extent(sch, loop)
    if size is None or size == 1 or (size > lanes and size % lanes):
        return None
    if size <= lanes:
        if size & (size - 1) == 0:
            sch.vectorize(loop)
        return None
    outer, inner = sch.split(loop, [None, lanes])
    sch.vectorize(inner)
    return outer


def likely(place: int) -> int:
    """What an unknown extent counts for where tasks are shared out: the first one is the batch, often 1.

    Fusing more loops than needed is no help: the index of each is then a division by what is not known either.
    """
    return 1 if place == 0 else 4


def fuse(sch: s_tir.Schedule, loops: Sequence[Loop]) -> Loop:
    return loops[0] if len(loops) == 1 else sch.fuse(*loops)
