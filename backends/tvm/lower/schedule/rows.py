"""Reductions over rows, with everything that belongs to a row inside one parallel loop over the rows.

A reduction that has lanes (kernels/rows.py) runs over vectors.
"""

from __future__ import annotations

from tvm import s_tir

from backends.tvm.lower.kernels.rows import KEPT
from backends.tvm.lower.schedule.inlining import inline_short
from backends.tvm.lower.schedule.tools import (
    Block,
    axis_kinds,
    blocks_of,
    extent,
    fuse,
    vectorize,
)
from backends.tvm.target import Machine

# Fewer elements than this stay on one thread.
_WORTH_SHARING = 4096


def is_row_reduction(sch: s_tir.Schedule) -> bool:
    """Reductions over one axis each, all for the same rows, and at the end a result for each row or element of one."""
    kinds = [axis_kinds(sch, block) for block in blocks_of(sch)]
    reductions = [kind for kind in kinds if kind[1]]
    if not reductions or kinds[-1][1:] != (0, 0) or any(kind[1:] != (1, 0) for kind in reductions):
        return False
    lead = min(kind[0] for kind in reductions)
    return lead >= 1 and all(kind[0] in (lead, lead + 1) for kind in [*reductions, kinds[-1]])


def schedule_rows(sch: s_tir.Schedule, machine: Machine) -> None:
    *before, last = blocks_of(sch)
    lead = min(axis_kinds(sch, block)[0] for block in before if axis_kinds(sch, block)[1])
    elementwise = []
    for block in before:
        if KEPT in sch.get(block).annotations:
            sch.unannotate(block, KEPT)
        elif axis_kinds(sch, block)[1:] == (0, 0):
            elementwise.append(block)
    inline_short(sch, elementwise)
    *stages, last = blocks_of(sch)

    row = fuse(sch, list(sch.get_loops(last))[:lead])
    inner = list(sch.get_loops(last))[1:]
    for block in reversed(stages):
        sch.compute_at(block, row)
    rows, length = extent(sch, row), extent(sch, inner[-1]) if inner else _WORTH_SHARING
    if rows is None or (rows > 1 and rows * (length or _WORTH_SHARING) >= _WORTH_SHARING):
        sch.parallel(row)
    for block in [*stages, last]:
        _finish(sch, block, machine)


def _finish(sch: s_tir.Schedule, block: Block, machine: Machine) -> None:
    """The loops of one stage inside the row: elements, lanes of a reduction, or one plain reduction."""
    own, reduces = list(sch.get_loops(block))[1:], bool(axis_kinds(sch, block)[1])
    if not own:
        return
    if not reduces:
        vectorize(sch, own[-1], machine.vector_lanes)
    elif len(own) == 1:
        sch.decompose_reduction(block, own[0])
    else:
        lane, step = own[-2:]
        sch.reorder(step, lane)
        vectorize(sch, lane, machine.vector_lanes)
        sch.decompose_reduction(block, step)
