"""Relax to scheduled kernels, plainly: TVM's own lowering of each operator, fused, and one generic schedule.

Right for everything and fast for nothing: `--option tvm.kernels=plain`, and what our own kernels are compared with.
`lower` keeps constants in the module; `finish` is the tail that turns the module into what the virtual machine runs.
"""

from __future__ import annotations

from typing import Any

from tvm import ir as tvm_ir
from tvm import relax, s_tir, target, te, tirx
from tvm import transform as tvm_transform
from tvm.s_tir.schedule import ScheduleError

from backends.tvm.explain import Explain
from backends.tvm.lower.kernels.rows import LARGEST, SMALLEST, in_one_step
from backends.tvm.lower.quantized import dequantize, quantize
from backends.tvm.lower.schedule.inlining import inline_short
from backends.tvm.lower.views import copies_to_views
from backends.tvm.target import Machine, of

_WORTH_PARALLEL = 16384  # element operations below which waking other threads costs more than it saves
_UNKNOWN = 64  # what a dynamic extent counts for in that


def lower(module: tvm_ir.IRModule, machine: Machine, explain: Explain) -> tvm_ir.IRModule:
    with of(machine):
        lowered = tvm_transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.backend.DispatchSampling(),
                relax.backend.DispatchSortScan(),
                relax.transform.LegalizeOps(OWN),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)
        return _scheduled(lowered, machine, explain)


def finish(module: tvm_ir.IRModule, where: target.Target) -> tvm_ir.IRModule:
    with where:
        return tvm_transform.Sequential(
            [
                relax.transform.ToNonDataflow(),
                relax.transform.RemovePurityChecking(),
                relax.transform.CallTIRRewrite(),
                relax.transform.StaticPlanBlockMemory(),
                relax.transform.LowerAllocTensor(),
                relax.transform.KillAfterLastUse(),
                relax.transform.LowerRuntimeBuiltin(),
                relax.transform.ComputePrimValue(),
                relax.transform.VMShapeLower(),
                relax.transform.AttachGlobalSymbol(),
            ]
        )(copies_to_views(module))


def _relu(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """max(0, x) in this order keeps a NaN: the comparison 0 > NaN is false."""

    def compute(x: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *i: tirx.max(tirx.const(0, x.dtype), x(*i)), name="T_relu")

    return bb.call_te(compute, call.args[0], primfunc_name_hint="relu")


def _attention(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Stock attention compares extents as text and refuses `n - 1` beside `n - 1`."""
    scale, causal = float(call.attrs.scale), call.attrs.causal_mask is not None

    def compute(q: te.Tensor, k: te.Tensor, v: te.Tensor, *bias: te.Tensor) -> te.Tensor:
        batch, rows, heads, size = q.shape
        columns, dtype = k.shape[1], q.dtype
        inner, over, total, along = (
            te.reduce_axis((0, extent), name=name)
            for extent, name in ((size, "d"), (columns, "m"), (columns, "s"), (columns, "j"))
        )
        products = te.compute(
            (batch, heads, rows, columns),
            lambda b, h, i, j: te.sum(q(b, i, h, inner) * k(b, j, h, inner), axis=inner),
            name="T_products",
        )

        def score(b: Any, h: Any, i: Any, j: Any) -> Any:
            value = products(b, h, i, j) * tirx.const(scale, dtype)
            for mask in bias:
                lead = (0 if _is_one(extent) else place for extent, place in zip(mask.shape, (b, h), strict=False))
                value = value + mask(*lead, i, j)
            return tirx.Select(j <= i, value, tirx.const(float("-inf"), dtype)) if causal else value

        scores = te.compute((batch, heads, rows, columns), score, name="T_scores")
        most = te.compute((batch, heads, rows), lambda b, h, i: te.max(scores(b, h, i, over), axis=over), name="T_most")
        powers = te.compute(
            scores.shape, lambda b, h, i, j: tirx.exp(scores(b, h, i, j) - most(b, h, i)), name="T_powers"
        )
        sums = te.compute(most.shape, lambda b, h, i: te.sum(powers(b, h, i, total), axis=total), name="T_sums")
        weighted = te.compute(
            (batch, rows, heads, v.shape[3]),
            lambda b, i, h, d: te.sum(powers(b, h, i, along) * v(b, along, h, d), axis=along),
            name="T_weighted",
        )
        # Each power is at most 1 and the largest is 1, unless nothing may be seen at all.
        return te.compute(
            weighted.shape,
            lambda b, i, h, d: tirx.Select(
                tirx.EQ(sums(b, h, i), tirx.const(0, dtype)), tirx.const(0, dtype), weighted(b, i, h, d) / sums(b, h, i)
            ),
            name="T_attention",
        )

    return bb.call_te(compute, *call.args, primfunc_name_hint="attention")


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1


OWN = {
    "relax.dequantize": dequantize,
    "relax.max": in_one_step(LARGEST),
    "relax.min": in_one_step(SMALLEST),
    "relax.nn.attention": _attention,
    "relax.nn.attention_bias": _attention,
    "relax.nn.relu": _relu,
    "relax.quantize": quantize,
}


def _scheduled(module: tvm_ir.IRModule, machine: Machine, explain: Explain) -> tvm_ir.IRModule:
    scheduled = {}
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            try:
                scheduled[name] = _parallel(function, machine.vector_lanes)
            except ScheduleError as error:
                explain.decline(f"schedule of {name.name_hint}", str(error).strip().splitlines()[-1])
    for name, function in scheduled.items():
        module.update_func(name, function)
    return module


def _parallel(function: tirx.PrimFunc, lanes: int) -> tirx.PrimFunc:
    """Spatial stages that feed another are computed in place; the outer loops of the rest run side by side."""
    schedule = s_tir.Schedule(tvm_ir.IRModule({"main": function}))
    root = schedule.get_sblock("root")
    before = schedule.get_child_blocks(root)[:-1]
    spatial = [block for block in before if all(axis.iter_type == 0 for axis in schedule.get(block).iter_vars)]
    inline_short(schedule, spatial)
    for block in schedule.get_child_blocks(root):
        _spread(schedule, block, lanes)
    return schedule.mod["main"].with_attr("tirx.is_scheduled", True)


def _spread(schedule: Any, block: Any, lanes: int) -> None:
    loops, axes = schedule.get_loops(block), schedule.get(block).iter_vars
    if len(loops) != len(axes) or any(axis.iter_type not in (0, 2) for axis in axes):
        return
    spatial = [loop for loop, axis in zip(loops, axes, strict=True) if axis.iter_type == 0]
    reduced = [loop for loop, axis in zip(loops, axes, strict=True) if axis.iter_type == 2]
    if not spatial:
        if reduced:
            schedule.decompose_reduction(block, reduced[0])
        return
    if reduced:
        schedule.reorder(*spatial, *reduced)
        # The start value is written by a loop of its own: within the reduction it would never be if there is nothing
        # to reduce.
        schedule.decompose_reduction(block, reduced[0])
    work = 1
    for loop in loops:
        extent = schedule.get(loop).extent
        work *= int(extent) if isinstance(extent, tirx.IntImm) else _UNKNOWN
    if work < _WORTH_PARALLEL:
        return
    if not reduced and len(spatial) > 1:
        last = schedule.get(spatial[-1]).extent
        if isinstance(last, tirx.IntImm) and int(last) % lanes == 0:
            _, inner = schedule.split(spatial[-1], [None, lanes])
            schedule.vectorize(inner)
    outer = spatial[:-1] or spatial
    schedule.parallel(schedule.fuse(*outer[:3]) if len(outer) > 1 else outer[0])
