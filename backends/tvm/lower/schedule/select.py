"""Which schedule a function gets: the first in the table that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import tvm
from tvm import ir, relax, s_tir, tirx
from tvm.error import InternalError
from tvm.s_tir.schedule import ScheduleError

from backends.tvm.explain import Explain
from backends.tvm.lower.relax_tools import op_name
from backends.tvm.lower.schedule import depthwise, dots, generic, rows, tiled
from backends.tvm.lower.schedule.tools import UnfitError
from backends.tvm.lower.tuning import Tuner
from backends.tvm.target import Machine

SCHEDULED = "tirx.is_scheduled"

Rule = tuple[str, Callable[[s_tir.Schedule], bool], Callable[[s_tir.Schedule, Machine], None]]

_ROWS, _GENERIC = "rows", "generic"
# Products of other types than float32 with something after them are rows, too.
_TUNABLE = (_ROWS, _GENERIC)
_RULES: tuple[Rule, ...] = (
    ("dot products", lambda sch: dots.dot_block(sch) is not None, dots.schedule_dots),
    ("register tiles", lambda sch: tiled.tile_block(sch) is not None, tiled.schedule_tiled),
    ("depthwise", depthwise.is_depthwise, depthwise.schedule_depthwise),
    (_ROWS, rows.is_row_reduction, rows.schedule_rows),
    (_GENERIC, lambda sch: True, generic.schedule_generic),
)


def schedule_all(mod: tvm.IRModule, machine: Machine, explain: Explain, tuner: Tuner | None = None) -> tvm.IRModule:
    """Every PrimFunc that is not scheduled yet, each on its own."""
    calls = _calls(mod) if tuner is not None else {}
    scheduled, tunable = {}, {}
    for place, function in mod.functions_items():
        if isinstance(function, tirx.PrimFunc) and not (function.attrs and SCHEDULED in function.attrs):
            rule, scheduled[place] = schedule(function, place.name_hint, machine, explain)
            if rule in _TUNABLE:
                tunable[place.name_hint] = (function, scheduled[place], calls.get(place.name_hint, 0))
    found = tuner.tuned(tunable) if tuner is not None else {}
    for place, function in scheduled.items():
        faster = found.get(place.name_hint)
        mod.update_func(place, function if faster is None else faster.with_attr(SCHEDULED, True))
    return mod


def schedule(function: tirx.PrimFunc, name: str, machine: Machine, explain: Explain) -> tuple[str, tirx.PrimFunc]:
    """The rule that took it, and what that made of it."""
    if not isinstance(function.body, s_tir.SBlockRealize) or function.body.block.name_hint != "root":
        return "as it is", function  # written without blocks, in the order it is to run
    for rule, applies, apply in _RULES:
        sch = s_tir.Schedule(ir.IRModule({"main": function}))
        try:
            if not applies(sch):
                continue
            apply(sch, machine)
        except (UnfitError, ScheduleError, InternalError) as reason:
            explain.decline(f"schedule {rule} of {name}", _first_line(reason))
            continue
        return rule, sch.mod["main"].with_attr(SCHEDULED, True)
    return "as it is", function


def _calls(mod: tvm.IRModule) -> Counter[str]:
    """How often the model calls each kernel."""
    counted: Counter[str] = Counter()

    def count(expr: relax.Expr) -> None:
        if op_name(expr) == "relax.call_tir":
            counted[expr.args[0].name_hint] += 1

    for _, function in mod.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function.body, count)
    return counted


def _first_line(reason: Exception) -> str:
    """The message without TVM's listing of the whole function."""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    return next((line for line in lines if "rror message" in line), lines[0] if lines else type(reason).__name__)
