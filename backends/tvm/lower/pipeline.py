"""From high-level Relax to scheduled TIR, and from there to what the virtual machine runs.

Between the two halves constants may be lifted out of the module; `tvm.compile(..., relax_pipeline=None)` follows.
"""

from __future__ import annotations

from functools import cache

import tvm
from tvm import relax, tirx

from backends.tvm.explain import Explain
from backends.tvm.lower.canonical.channels_last import convolutions_channels_last
from backends.tvm.lower.canonical.flatten_rows import flatten_rows
from backends.tvm.lower.canonical.forms import to_known_forms
from backends.tvm.lower.canonical.integer_products import integer_products
from backends.tvm.lower.canonical.permutes import sink_permutes
from backends.tvm.lower.canonical.tied_weights import share_tied_weights
from backends.tvm.lower.kernels.call import Lowering
from backends.tvm.lower.kernels.table import legalization
from backends.tvm.lower.plain import OWN
from backends.tvm.lower.schedule.select import schedule_all
from backends.tvm.lower.tuning import Tuner
from backends.tvm.lower.views import copies_to_views
from backends.tvm.target import Machine, of

_ABOVE_STOCK = 20  # the priority of an attribute; TVM's own have 10


def lower(
    mod: tvm.IRModule, machine: Machine, explain: Explain | None = None, tuner: Tuner | None = None
) -> tvm.IRModule:
    explain = explain or Explain()
    with of(machine):
        at = Lowering(machine, explain)
        mod = share_tied_weights(_prepare(mod, machine, explain), at)
        mod = _to_kernels(mod, at)
        return schedule_all(mod, machine, explain, tuner)


def finish(module: tvm.IRModule, where: tvm.target.Target) -> tvm.IRModule:
    passes = relax.transform
    with where:
        finished = tvm.transform.Sequential(
            [
                passes.ToNonDataflow(),
                passes.RemovePurityChecking(),
                passes.CallTIRRewrite(),
                passes.StaticPlanBlockMemory(),
                passes.LowerAllocTensor(),
                passes.KillAfterLastUse(),
                passes.LowerRuntimeBuiltin(),
                passes.ComputePrimValue(),
                passes.VMShapeLower(),
                passes.AttachGlobalSymbol(),
            ]
        )(copies_to_views(module))
    return _without_aliases(finished)


def _without_aliases(mod: tvm.IRModule) -> tvm.IRModule:
    """One function that does not promise that its buffers are apart makes TVM's LLVM code drop the promise of all
    in its module, and with it every accumulator goes to memory after each step. The shape functions lack it."""
    for place, function in mod.functions_items():
        if isinstance(function, tirx.PrimFunc):
            mod.update_func(place, function.with_attr("tirx.noalias", True))
    return mod


@cache
def _fold_as_we_lower() -> None:
    """Looking for constants, TVM lowers every call, attention too, and takes two expressions of one length for two
    lengths. What is left alone here gets a kernel of ours later. Its maximum loses a NaN there as well."""
    for name in ("relax.nn.attention", "relax.nn.attention_bias"):
        tvm.ir.register_op_attr(name, "FLegalize", lambda _, call: call, _ABOVE_STOCK)
    for name in ("relax.dequantize", "relax.max", "relax.min", "relax.quantize"):
        tvm.ir.register_op_attr(name, "FLegalize", OWN[name], _ABOVE_STOCK)


def _prepare(mod: tvm.IRModule, machine: Machine, explain: Explain) -> tvm.IRModule:
    _fold_as_we_lower()
    passes = relax.transform
    mod = passes.DecomposeOpsForInference()(mod)
    mod = integer_products(mod, machine, explain)  # before what the weights stand for is written out
    mod = tvm.transform.Sequential([passes.DeadCodeElimination(), passes.FoldConstant()])(mod)
    mod = to_known_forms(mod, machine, explain)
    mod = convolutions_channels_last(mod)
    mod = sink_permutes(mod)
    mod = flatten_rows(mod)
    return passes.EliminateCommonSubexpr()(mod)


def _to_kernels(mod: tvm.IRModule, at: Lowering) -> tvm.IRModule:
    passes = relax.transform
    return tvm.transform.Sequential(
        [
            relax.backend.DispatchSampling(),
            relax.backend.DispatchSortScan(),
            # A reshape stays what it is: another view of the same memory.
            passes.LegalizeOps(legalization(at), skip_ops=["relax.reshape"]),
            passes.EliminateCommonSubexpr(),
            passes.AnnotateTIROpPattern(),
            passes.FuseOps(),
            passes.FuseTIR(),
            passes.DeadCodeElimination(),
        ]
    )(mod)
