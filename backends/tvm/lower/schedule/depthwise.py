"""Depthwise convolutions: threads share bands of lines; within a band, one block of channels at a time.

The padded copy of the data is made for one band and one block of channels, just before use.
"""

from __future__ import annotations

from tvm import s_tir

from backends.tvm.lower.kernels.conv import DEPTHWISE
from backends.tvm.lower.schedule.inlining import inline_short
from backends.tvm.lower.schedule.tools import (
    Block,
    UnfitError,
    axis_kinds,
    blocks_of,
    extent,
    fuse,
    split_loops,
    vectorize,
)
from backends.tvm.target import Machine

_MOST_LINES = 14
_UNKNOWN_LINES = 4


def is_depthwise(sch: s_tir.Schedule) -> bool:
    return any(DEPTHWISE in sch.get(block).annotations for block in blocks_of(sch))


def schedule_depthwise(sch: s_tir.Schedule, machine: Machine) -> None:
    blocks = blocks_of(sch)
    place = next(index for index, block in enumerate(blocks) if DEPTHWISE in sch.get(block).annotations)
    tiles, before, after = blocks[place], blocks[:place], blocks[place + 1 :]
    rows, columns, unrolled = (int(number) for number in sch.get(tiles).annotations[DEPTHWISE])
    sch.unannotate(tiles, DEPTHWISE)
    if any(axis_kinds(sch, block)[1:] != (0, 0) for block in after):
        raise UnfitError("a reduction follows the convolution")
    epilogue = [*inline_short(sch, after[:-1]), after[-1]]

    spatial, over = split_loops(sch, tiles)
    batch, *lines, line, channels = spatial
    band = [batch, *lines[:-1]]
    inner_lines = []
    if lines:
        outer_line, inner_line = sch.split(lines[-1], [None, _lines_in_band(extent(sch, lines[-1]), machine)])
        band, inner_lines = [*band, outer_line], [inner_line]
    part, row = sch.split(line, [None, rows])
    block, vector, lane = sch.split(channels, [None, columns // machine.vector_lanes, machine.vector_lanes])
    sch.reorder(*band, block, *inner_lines, part, *over, row, vector, lane)
    sch.parallel(fuse(sch, band))
    for producer in before:
        sch.compute_at(producer, block)
        vectorize(sch, sch.get_loops(producer)[-1], machine.vector_lanes)
    for follower in epilogue:
        sch.reverse_compute_at(follower, part)
    sch.unroll(row)
    sch.unroll(vector)
    sch.vectorize(lane)
    for loop in over[0 if unrolled else -1 :]:
        sch.unroll(loop)
    for follower in epilogue:
        _schedule_epilogue(sch, tiles, follower, len(over) + 3, machine)
    sch.set_scope(tiles, 0, "local")
    sch.decompose_reduction(tiles, over[0])


def _lines_in_band(lines: int | None, machine: Machine) -> int:
    """As many as leave every thread two bands."""
    if lines is None:
        return _UNKNOWN_LINES
    fitting = [n for n in range(1, _MOST_LINES + 1) if lines % n == 0 and lines // n >= 2 * machine.cores]
    return max(fitting, default=1)


def _schedule_epilogue(sch: s_tir.Schedule, tiles: Block, block: Block, inner: int, machine: Machine) -> None:
    loops = list(sch.get_loops(block))[len(sch.get_loops(tiles)) - inner :]
    loops = [loop for loop in loops if extent(sch, loop) != 1] or loops[-1:]
    if not loops:
        return  # one number
    vectors = vectorize(sch, loops[-1], machine.vector_lanes)
    if vectors is not None:
        sch.unroll(vectors)
    for loop in loops[:-1]:
        if extent(sch, loop) is not None:
            sch.unroll(loop)
