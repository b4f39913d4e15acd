"""Integer products as register tiles (as in schedule/tiled.py), of which the innermost loops are one instruction."""

from __future__ import annotations

from tvm import s_tir

from backends.tvm.lower.kernels.integer_matmul import DOT_TILE
from backends.tvm.lower.schedule.inlining import inline_short
from backends.tvm.lower.schedule.tiled import order, schedule_epilogue, schedule_producer, share
from backends.tvm.lower.schedule.tools import Block, UnfitError, axis_kinds, blocks_of, extent, product, split_loops
from backends.tvm.target import Machine

_UNKNOWN = 8


def dot_block(sch: s_tir.Schedule) -> Block | None:
    return next((block for block in blocks_of(sch) if DOT_TILE in sch.get(block).annotations), None)


def schedule_dots(sch: s_tir.Schedule, machine: Machine) -> None:
    blocks, tiles = blocks_of(sch), dot_block(sch)
    if tiles is None:
        raise UnfitError("no block is marked as a tile of dot products")
    height, vectors, lanes, instruction = sch.get(tiles).annotations[DOT_TILE]
    sch.unannotate(tiles, DOT_TILE)
    feeding, own = _feeding(sch, tiles), sch.get(tiles).name_hint
    before = [block for block in blocks if sch.get(block).name_hint in feeding]
    # Also what stands in front of the product and is read behind it, as the other side of a sum.
    after = [block for block in blocks if sch.get(block).name_hint not in {*feeding, own}]
    if any(axis_kinds(sch, block)[1:] != (0, 0) for block in after):
        raise UnfitError("a reduction follows the product")
    epilogue = [*inline_short(sch, after[:-1]), after[-1]]
    for block in before:
        schedule_producer(sch, block, machine)

    spatial, (*reductions, step) = split_loops(sch, tiles)
    *lead, rows, columns = spatial
    row_tile, row = sch.split(rows, [None, int(height)])
    panel, vector, lane = sch.split(columns, [None, int(vectors), int(lanes)])
    outer = order(sch, lead, panel, row_tile, reductions)
    sch.reorder(*outer, *reductions, row, vector, lane, step)
    depth = product((extent(sch, loop) for loop in reductions), _UNKNOWN)
    at = share(sch, outer, depth * int(height * vectors * lanes), machine)
    for block in epilogue:
        sch.reverse_compute_at(block, at)
    sch.unroll(row)
    sch.unroll(vector)
    for block in epilogue:
        schedule_epilogue(sch, tiles, block, len(reductions) + 4, machine)
    sch.set_scope(tiles, 0, "local")
    start = sch.decompose_reduction(tiles, reductions[0])
    sch.vectorize(sch.get_loops(start)[-1])
    sch.tensorize(lane, str(instruction))


def _feeding(sch: s_tir.Schedule, block: Block) -> set[str]:
    """What a block is computed from, by name."""
    found: set[str] = set()
    for producer in sch.get_producers(block):
        found |= {sch.get(producer).name_hint} | _feeding(sch, producer)
    return found
