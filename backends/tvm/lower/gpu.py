"""Relax to kernels for a GPU: TVM's own lowering of each operator, fused, and TVM's default schedules."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, relax

from backends.tvm.lower import plain
from backends.tvm.target import Machine, of


def target(gpu: dict[str, Any], machine: Machine) -> tvm.target.Target:
    return tvm.target.Target(gpu, host=of(machine))


def lower(module: ir.IRModule, where: tvm.target.Target) -> ir.IRModule:
    from tvm.s_tir import dlight

    with where:
        return tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
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
