"""Relax to kernels for a GPU: TVM's own lowering of each operator, fused, and TVM's default schedules."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, relax, tirx

from backends.tvm.lower import plain
from backends.tvm.target import Machine, of
from compiler.errors import CompileError


def target(gpu: dict[str, Any], machine: Machine) -> tvm.target.Target:
    return tvm.target.Target(gpu, host=of(machine))


def lower(module: ir.IRModule, where: tvm.target.Target) -> ir.IRModule:
    lowered = _lowered(module, where)
    for place, function in lowered.functions_items():
        # As text, because Python has no walk over statements.
        if isinstance(function, tirx.PrimFunc) and "threadIdx.x" not in function.script():
            raise CompileError(
                "unsupported-op",
                "tvm cannot build this model for a GPU",
                why=f"the kernel '{place.name_hint}' is written for a CPU",
                hint="without --option tvm.target=cuda, or with another --target",
            )
    return lowered


def _lowered(module: ir.IRModule, where: tvm.target.Target) -> ir.IRModule:
    from tvm.s_tir import dlight

    with where:
        return tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.backend.DispatchSampling(),
                relax.backend.DispatchSortScan(),
                relax.transform.LegalizeOps(plain.OWN),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
                dlight.ApplyDefaultSchedule(
                    dlight.gpu.Matmul(),
                    dlight.gpu.GEMV(),
                    dlight.gpu.Reduction(),
                    dlight.gpu.GeneralReduction(),
                    dlight.gpu.Fallback(),
                ),
            ]
        )(module)
