"""Kernels for other vector widths: AVX2 code runs here too, NEON code is compiled."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import Lowered, normal
from tvm import relax
from tvm.target import codegen

from backends.tvm.target import Machine, machine

_CPUS = {"haswell": (8, 16), "skylake-avx512": (16, 32), "x86-64": (4, 16)}


def _cpu(name: str) -> Machine:
    cpu = machine({"threads": 2, "mcpu": name})
    assert (cpu.vector_lanes, cpu.registers) == _CPUS[name]
    return cpu


def _runs_here(cpu: Machine) -> bool:
    return cpu.vector_lanes <= machine({"threads": 2}).vector_lanes


def _models() -> dict:
    w, kernel, small = normal(40, 50), normal(24, 10, 3, 3), normal(32, 1, 3, 3)
    scale, bias = normal(40), normal(40, seed=1)
    return {
        "matmul": (lambda bb, x: relax.op.nn.gelu(bb.emit(relax.op.matmul(x, relax.const(w)))), ["n", 40], (9, 40)),
        "conv": (lambda bb, x: relax.op.nn.conv2d(x, relax.const(kernel), padding=1), ["n", 10, 9, 9], (2, 10, 9, 9)),
        "depthwise": (
            lambda bb, x: relax.op.nn.conv2d(x, relax.const(small), padding=1, groups=32),
            ["n", 32, 9, 9],
            (2, 32, 9, 9),
        ),
        "softmax": (lambda bb, x: relax.op.nn.softmax(x), ["n", 48], (5, 48)),
        "norm": (
            lambda bb, x: relax.op.nn.layer_norm(x, relax.const(scale), relax.const(bias), axes=[-1]),
            ["n", 40],
            (5, 40),
        ),
        "attention": (lambda bb, x: relax.op.nn.attention(x, x, x), ["b", "s", 2, 32], (2, 37, 2, 32)),
    }


@pytest.mark.parametrize("name", _CPUS)
@pytest.mark.parametrize("model", _models())
def test_every_width_computes_the_same(name: str, model: str) -> None:
    make, shape, sizes = _models()[model]
    cpu = _cpu(name)
    run = Lowered(make, shape, cpu=cpu)
    assert not run.explain.declined
    if not _runs_here(cpu):
        pytest.skip(f"this processor cannot run code for {name}; it was compiled")
    x = normal(*sizes)
    np.testing.assert_allclose(run(x), Lowered(make, shape)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", _models())
def test_neon_is_compiled(model: str) -> None:
    make, shape, _ = _models()[model]
    if "aarch64" not in codegen.llvm_get_targets():
        pytest.skip("this LLVM has no AArch64")
    cpu = machine({"threads": 2, "mcpu": "neoverse-n1", "triple": "aarch64-linux-gnu"})
    assert (cpu.vector_lanes, cpu.registers) == (4, 32)
    run = Lowered(make, shape, cpu=cpu)
    assert not run.explain.declined
    assert "fmla" in run.executable.mod.imports[0].inspect_source("asm")
