"""Products as register tiles: sums are accumulated in registers, then everything that follows is applied to them.

Order of the loops: threads share panels of weights (and rows where there are few panels); within a panel all rows pass
by, so the panel comes from memory once; within a tile the reduction runs outside and the tile inside, unrolled.
"""

from __future__ import annotations

from tvm import s_tir

from backends.tvm.lower.kernels.matmul import TILE
from backends.tvm.lower.schedule.inlining import inline_short
from backends.tvm.lower.schedule.tools import (
    WORTH_A_THREAD,
    Block,
    Loop,
    UnfitError,
    axis_kinds,
    blocks_of,
    extent,
    fuse,
    likely,
    product,
    split_loops,
    vectorize,
)
from backends.tvm.target import Machine

_UNKNOWN = 8
_UNROLL_AT_MOST = 32
# Of this many steps a sum may be; shorter parts than these would cost time.
_LONGEST_SUM, _SHORTEST_SUM = 384, 128
# Threads run evenly when their number divides the tasks, or when the tasks are many.
_MANY = 6


def tile_block(sch: s_tir.Schedule) -> Block | None:
    for block in blocks_of(sch):
        if TILE in sch.get(block).annotations:
            return block
    return None


def schedule_tiled(sch: s_tir.Schedule, machine: Machine) -> None:
    blocks = blocks_of(sch)
    tiles = tile_block(sch)
    if tiles is None:
        raise UnfitError("no block is marked as a tile")
    height, width = (int(size) for size in sch.get(tiles).annotations[TILE])
    sch.unannotate(tiles, TILE)
    place = next(index for index, block in enumerate(blocks) if sch.get(block).name_hint == sch.get(tiles).name_hint)
    before, after = blocks[:place], blocks[place + 1 :]
    if any(axis_kinds(sch, block)[1:] != (0, 0) for block in after):
        raise UnfitError("a reduction follows the product")
    epilogue = [*inline_short(sch, after[:-1]), after[-1]]
    for block in before:
        schedule_producer(sch, block, machine)

    spatial, reductions = split_loops(sch, tiles)
    depth = product((extent(sch, loop) for loop in reductions), _UNKNOWN)
    part = _in_parts(sch, reductions)
    if part is not None:
        *spatial, parts = sch.get_loops(tiles)
        reductions = [parts]
    *lead, rows, columns = spatial
    row_tile, row = sch.split(rows, [None, height])
    panel, vector, lane = sch.split(columns, [None, width // machine.vector_lanes, machine.vector_lanes])
    outer = order(sch, lead, panel, row_tile, reductions)
    sch.reorder(*outer, *reductions, row, vector, lane)
    at = share(sch, outer, depth * height * width, machine)
    for block in epilogue:
        sch.reverse_compute_at(block, at)
    if part is not None:
        sch.compute_at(part, reductions[0])
        _schedule_part(sch, part, len(sch.get_loops(tiles)) - 3, machine)
    sch.unroll(row)
    sch.unroll(vector)
    sch.vectorize(lane)
    for block in epilogue:
        schedule_epilogue(sch, tiles, block, len(reductions) + 3, machine)
    sch.set_scope(tiles, 0, "local")
    sch.decompose_reduction(tiles, reductions[0])


def order(sch: s_tir.Schedule, lead: list[Loop], panel: Loop, row_tile: Loop, reductions: list[Loop]) -> list[Loop]:
    if len(lead) >= 2 and len(reductions) > 1:  # a convolution: image, panel, line of the image, part of the line
        return [lead[0], panel, *lead[1:], row_tile]
    return [*lead, panel, row_tile]


def _in_parts(sch: s_tir.Schedule, reductions: list[Loop]) -> Block | None:
    """A long sum as the sum of a few shorter ones, whose rounding errors do not add up over its whole length. A part is
    what stays in registers; the sum of the parts is only touched between them."""
    depth = extent(sch, reductions[0])
    if len(reductions) != 1 or depth is None or depth <= _LONGEST_SUM:
        return None
    length = next((size for size in range(_LONGEST_SUM, _SHORTEST_SUM - 1, -1) if depth % size == 0), None)
    if length is None:
        return None
    parts, _ = sch.split(reductions[0], [None, length])
    return sch.rfactor(parts, 0)


def _schedule_part(sch: s_tir.Schedule, part: Block, outside: int, machine: Machine) -> None:
    *row, column, step = list(sch.get_loops(part))[outside:]  # a single row has no loop
    vector, lane = sch.split(column, [None, machine.vector_lanes])
    sch.reorder(step, *row, vector, lane)
    for loop in (*row, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    sch.set_scope(part, 0, "local")
    sch.decompose_reduction(part, step)


def share(sch: s_tir.Schedule, outer: list[Loop], tile_work: int, machine: Machine) -> Loop:
    """Makes enough of the outer loops parallel; returns the loop in which one tile is finished."""
    tasks = product((extent(sch, loop) for loop in outer), _UNKNOWN)
    if machine.cores == 1 or tasks * tile_work < 4 * WORTH_A_THREAD:
        return outer[-1]
    chosen: list[Loop] = []
    count = 1
    for place, loop in enumerate(outer[:-1] or outer):
        chosen.append(loop)
        count *= extent(sch, loop) or likely(place)
        if count % machine.cores == 0 or count >= _MANY * machine.cores:
            shared = fuse(sch, chosen)
            sch.parallel(shared)
            return outer[-1] if len(chosen) < len(outer) else shared
    shared = fuse(sch, outer)
    sch.parallel(shared)
    return shared


def schedule_producer(sch: s_tir.Schedule, block: Block, machine: Machine) -> None:
    loops = list(sch.get_loops(block))
    outer = fuse(sch, loops[:-2]) if len(loops) > 2 else loops[0]
    vectorize(sch, loops[-1], machine.vector_lanes)
    if extent(sch, outer) != 1:
        sch.parallel(outer)


def schedule_epilogue(sch: s_tir.Schedule, tiles: Block, block: Block, inner: int, machine: Machine) -> None:
    outside = len(sch.get_loops(tiles)) - inner
    loops = list(sch.get_loops(block))[outside:]
    loops = [loop for loop in loops if extent(sch, loop) != 1] or loops[-1:]
    if not loops:
        return  # one number
    vectors = vectorize(sch, loops[-1], machine.vector_lanes)
    if vectors is not None:
        sch.unroll(vectors)
    for loop in loops[:-1]:
        size = extent(sch, loop)
        if size is not None and size <= _UNROLL_AT_MOST:
            sch.unroll(loop)
