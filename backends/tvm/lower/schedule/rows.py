"""Reductions over rows, with everything that belongs to a row inside one parallel loop over the rows.

A sum over a row is taken in as many lanes as a vector has, which are added up at the end: vector code, always in the
same order.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir

from backends.tvm.lower.kernels.rows import KEPT
from backends.tvm.lower.schedule.generic import inline_if_possible
from backends.tvm.lower.schedule.tools import (
    Block,
    Loop,
    axis_kinds,
    blocks_of,
    extent,
    fuse,
    vectorize,
)
from backends.tvm.target import Machine

# Fewer elements than this stay on one thread.
_WORTH_SHARING = 4096


@dataclass(frozen=True)
class _Stage:
    block: Block
    kind: str  # "lanes" of a reduction, the "sum" of such lanes, a plain "reduction", or "elements"


def is_row_reduction(sch: s_tir.Schedule) -> bool:
    """Reductions that each run over one axis, and at the end a result for every element."""
    kinds = [axis_kinds(sch, block) for block in blocks_of(sch)]
    if len(kinds) < 2 or kinds[-1][1:] != (0, 0):
        return False
    reductions = [kind for kind in kinds if kind[1]]
    rank = kinds[-1][0]
    return bool(reductions) and rank >= 2 and all(kind == (rank - 1, 1, 0) for kind in reductions)


def schedule_rows(sch: s_tir.Schedule, machine: Machine) -> None:
    *before, last = blocks_of(sch)
    kept = []
    for block in before:
        spatial_only = axis_kinds(sch, block)[1:] == (0, 0)
        wanted = KEPT in sch.get(block).annotations
        if wanted:
            sch.unannotate(block, KEPT)
        if wanted or not spatial_only or not inline_if_possible(sch, block):
            kept.append(block)
    stages = [stage for block in kept for stage in _stages(sch, block, machine)]

    *outer, _ = sch.get_loops(last)
    row = fuse(sch, outer)
    inner = sch.get_loops(last)[-1]
    rows, length = extent(sch, row), extent(sch, inner)
    for stage in reversed(stages):
        sch.compute_at(stage.block, row)
    if rows is None or (rows > 1 and rows * (length or _WORTH_SHARING) >= _WORTH_SHARING):
        sch.parallel(row)
    vectorize(sch, inner, machine.vector_lanes)
    for stage in stages:
        _finish(sch, stage, machine)


def _stages(sch: s_tir.Schedule, block: Block, machine: Machine) -> list[_Stage]:
    spatial, reductions, _ = axis_kinds(sch, block)
    if not reductions:
        return [_Stage(block, "elements")]
    loop = sch.get_loops(block)[-1]
    length = extent(sch, loop)
    if length is None or length % machine.vector_lanes or length == machine.vector_lanes:
        return [_Stage(block, "reduction")]
    _, lane = sch.split(loop, [None, machine.vector_lanes])
    return [_Stage(sch.rfactor(lane, spatial), "lanes"), _Stage(block, "sum")]


def _finish(sch: s_tir.Schedule, stage: _Stage, machine: Machine) -> None:
    loops: list[Loop] = list(sch.get_loops(stage.block))
    if stage.kind == "elements":
        vectorize(sch, loops[-1], machine.vector_lanes)
    elif stage.kind == "lanes":
        lane, step = loops[-2], loops[-1]
        sch.reorder(step, lane)
        sch.vectorize(lane)
        sch.decompose_reduction(stage.block, step)
    else:
        sch.decompose_reduction(stage.block, loops[-1])
