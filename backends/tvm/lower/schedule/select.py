"""Which schedule a function gets: the first in the table that fits."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import ir, s_tir, tirx
from tvm.error import InternalError
from tvm.s_tir.schedule import ScheduleError

from backends.tvm.explain import Explain
from backends.tvm.lower.schedule import depthwise, generic, rows, tiled
from backends.tvm.lower.schedule.tools import UnfitError
from backends.tvm.target import Machine

SCHEDULED = "tirx.is_scheduled"

Rule = tuple[str, Callable[[s_tir.Schedule], bool], Callable[[s_tir.Schedule, Machine], None]]

_RULES: tuple[Rule, ...] = (
    ("register tiles", lambda sch: tiled.tile_block(sch) is not None, tiled.schedule_tiled),
    ("depthwise", depthwise.is_depthwise, depthwise.schedule_depthwise),
    ("rows", rows.is_row_reduction, rows.schedule_rows),
    ("generic", lambda sch: True, generic.schedule_generic),
)


def schedule_all(mod: tvm.IRModule, machine: Machine, explain: Explain) -> tvm.IRModule:
    """Every PrimFunc that is not scheduled yet, each on its own."""
    scheduled = {
        place: schedule(function, place.name_hint, machine, explain)
        for place, function in mod.functions_items()
        if isinstance(function, tirx.PrimFunc) and not (function.attrs and SCHEDULED in function.attrs)
    }
    for place, function in scheduled.items():
        mod.update_func(place, function)
    return mod


def schedule(function: tirx.PrimFunc, name: str, machine: Machine, explain: Explain) -> tirx.PrimFunc:
    if not isinstance(function.body, s_tir.SBlockRealize) or function.body.block.name_hint != "root":
        return function  # written without blocks, in the order it is to run
    for rule, applies, apply in _RULES:
        sch = s_tir.Schedule(ir.IRModule({"main": function}))
        try:
            if not applies(sch):
                continue
            apply(sch, machine)
        except (UnfitError, ScheduleError, InternalError) as reason:
            explain.decline(f"schedule {rule} of {name}", _first_line(reason))
            continue
        return sch.mod["main"].with_attr(SCHEDULED, True)
    return function


def _first_line(reason: Exception) -> str:
    """The message without TVM's listing of the whole function."""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    return next((line for line in lines if "rror message" in line), lines[0] if lines else type(reason).__name__)
