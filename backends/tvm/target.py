"""For which machine code is made: TVM's target, and what its kernels may rely on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tvm


@dataclass(frozen=True)
class Machine:
    """What kernels are tiled for: float32 lanes of a vector, vector registers, and the CPU as LLVM calls it."""

    mcpu: str
    features: frozenset[str]
    vector_lanes: int
    registers: int
    cores: int
    triple: str | None = None  # LLVM's name of another system than this one


# LLVM's feature, float32 lanes, vector registers; the first that the CPU has counts.
_WIDTHS = (("avx512f", 16, 32), ("avx2", 8, 16), ("avx", 8, 16), ("neon", 4, 32), ("sse2", 4, 16))
_PLAIN = (4, 16)

# LLVM's names for what /proc/cpuinfo calls otherwise.
_IN_CPUINFO = {"sse4.2": "sse4_2", "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16", "avxvnni": "avx_vnni"}
_TOLD = (
    "sse4.2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512vl",
    "avx512bw",
    "avx512vnni",
    "avx512bf16",
    "avxvnni",
)


def host_mcpu() -> str:
    from tvm import target

    return str(target.codegen.llvm_get_system_cpu())


def machine(options: Mapping[str, Any]) -> Machine:
    mcpu = str(options.get("mcpu") or host_mcpu())
    triple = options.get("triple")
    return machine_of(made(mcpu, _cores(options), triple), mcpu, _cores(options), triple)


def machine_of(target: tvm.target.Target, mcpu: str, cores: int, triple: str | None = None) -> Machine:
    from tvm import target as targets

    with target:
        features = frozenset(str(name) for name in targets.codegen.llvm_get_cpu_features(target))
    lanes, registers = next(((lanes, count) for name, lanes, count in _WIDTHS if name in features), _PLAIN)
    return Machine(mcpu, features, lanes, registers, cores, triple)


def made(mcpu: str, cores: int, triple: str | None = None) -> tvm.target.Target:
    from tvm import target

    elsewhere = {} if triple is None else {"mtriple": triple}
    return target.Target({"kind": "llvm", "mcpu": mcpu, "num-cores": cores, **elsewhere})


def of(machine: Machine) -> tvm.target.Target:
    return made(machine.mcpu, machine.cores, machine.triple)


def needed_features(machine: Machine) -> list[str]:
    """The flags of /proc/cpuinfo without which the code cannot run."""
    return sorted(_IN_CPUINFO.get(name, name) for name in _TOLD if name in machine.features)


def _cores(options: Mapping[str, Any]) -> int:
    return int(options.get("threads") or 0) or os.cpu_count() or 1
