"""The schedule that always fits: outer loops shared among the threads, the innermost one in vectors."""

from __future__ import annotations

from tvm import s_tir, tirx
from tvm.s_tir.schedule import ScheduleError

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

_UNKNOWN = 64  # an extent that is only known when the model runs, in estimates of work
_TASKS_PER_THREAD = 4


def schedule_generic(sch: s_tir.Schedule, machine: Machine) -> None:
    inline_short(sch, [block for block in blocks_of(sch)[:-1] if axis_kinds(sch, block)[1:] == (0, 0)])
    for block in blocks_of(sch):
        try:
            _schedule_block(sch, block, machine)
        except (UnfitError, ScheduleError):
            continue  # a block that cannot be moved stays as it was written, which is right if slow


def _schedule_block(sch: s_tir.Schedule, block: Block, machine: Machine) -> None:
    spatial, reductions = split_loops(sch, block)
    if not spatial:
        return
    work = product((extent(sch, loop) for loop in spatial + reductions), _UNKNOWN)
    sch.reorder(*spatial, *reductions)
    outer, inner = spatial[:-1], spatial[-1]
    size = extent(sch, inner)
    if size is not None and size % machine.vector_lanes == 0:
        rest, lanes = sch.split(inner, [None, machine.vector_lanes])
        outer = [*outer, rest]
        sch.reorder(*outer, *reductions, lanes)
        sch.vectorize(lanes)
    elif not reductions:
        vectorize(sch, inner, machine.vector_lanes)
    if not outer and reductions:
        outer = [inner]
    if outer and work >= WORTH_A_THREAD:
        _share(sch, outer, machine)
    if reductions:
        sch.decompose_reduction(block, reductions[0])


def _share(sch: s_tir.Schedule, outer: list[Loop], machine: Machine) -> None:
    """As few loops as give every thread several turns are fused and run in parallel.

    Fused, the place in each but the first is a remainder by its length. One of a length like 2m - 1 that is divided
    again, as by a step, is more than TVM can prove, so that such a loop is where the fusing begins anew.
    """
    chosen: list[Loop] = []
    tasks = 1
    for place, loop in enumerate(outer):
        if isinstance(sch.get(loop).extent, tirx.Add | tirx.Sub):
            chosen, tasks = [], 1
        chosen.append(loop)
        tasks *= extent(sch, loop) or likely(place)
        if tasks >= _TASKS_PER_THREAD * machine.cores:
            break
    if tasks > 1 or any(extent(sch, loop) is None for loop in chosen):
        sch.parallel(fuse(sch, chosen))
