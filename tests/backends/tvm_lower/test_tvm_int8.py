"""Products of bytes: every sum is exact, at any size and on any processor that has an instruction for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from lowered import Lowered
from tvm import relax
from tvm.error import InternalError
from tvm.script import tirx as T
from tvm.target import codegen

from backends.tvm.target import Machine, machine, of

ROWS = (1, 3, 7, 33)
STEP = np.float32(0.5)  # so that numbers without rounding stay such


def _bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)


def _weights(depth: int, width: int) -> np.ndarray:
    return np.random.default_rng([depth, width]).integers(-127, 128, (depth, width)).astype(np.int8)


def _dequantized(bb: relax.BlockBuilder, codes: relax.Expr, step: object, zero: object, axis: int = -1) -> relax.Expr:
    operands = [each if isinstance(each, relax.Expr) else relax.const(each) for each in (step, zero)]
    return bb.emit(relax.op.dequantize(codes, *operands, axis, "float32"))


def _product(weights: np.ndarray, zero: np.generic, steps: np.ndarray | None = None) -> Callable[..., relax.Expr]:
    columns = np.ones(weights.shape[1], np.float32) if steps is None else steps
    none = np.zeros(columns.shape, np.int8)

    def make(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        right = _dequantized(bb, relax.const(weights), columns, none, 1)
        return relax.op.matmul(_dequantized(bb, x, STEP, zero), right)

    return make


def _exact(codes: np.ndarray, zero: int, weights: np.ndarray) -> np.ndarray:
    return (codes.astype(np.int64) - zero) @ weights.astype(np.int64) * STEP


@pytest.mark.parametrize(("depth", "width"), [(64, 48), (33, 50), (3, 7), (258, 16)])
def test_sums_are_exact(depth: int, width: int) -> None:
    weights = _weights(depth, width)
    run = Lowered(_product(weights, np.uint8(3)), ["n", depth], dtypes=["uint8"])
    assert not run.explain.declined
    assert any("integer_matmul" in name for name in run.functions)
    for rows in ROWS:
        codes = _bytes(rows, depth)
        np.testing.assert_array_equal(run(codes), _exact(codes, 3, weights))


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("haswell", "vpmaddwd"),
        ("skylake-avx512", "vpmaddwd"),
        ("alderlake", "vpdpbusd"),
        ("cascadelake", "vpdpbusd"),
        ("sapphirerapids", "vpdpbusd"),
    ],
)
def test_each_processor_has_its_instruction_and_none_saturates(name: str, instruction: str) -> None:
    cpu, weights = machine({"threads": 2, "mcpu": name}), _weights(37, 40)
    weights[:, :2] = 127, -127
    run = Lowered(_product(weights, np.uint8(0)), ["n", 37], dtypes=["uint8"], cpu=cpu)
    assert not run.explain.declined
    assert instruction in run.executable.mod.imports[0].inspect_source("asm")
    here = machine({"threads": 2})
    if not (cpu.vector_lanes <= here.vector_lanes and _instructions(cpu) <= here.features):
        pytest.skip(f"this processor cannot run code for {name}; it was compiled")
    codes = _bytes(9, 37)
    codes[:2] = 255
    np.testing.assert_array_equal(run(codes), _exact(codes, 0, weights))


def _instructions(cpu: Machine) -> frozenset[str]:
    return cpu.features & {"avx2", "avx512f", "avx512bw", "avx512vnni", "avxvnni", "avx512fp16", "amx-int8"}


def test_a_processor_without_one_computes_in_float32() -> None:
    if "aarch64" not in codegen.llvm_get_targets():
        pytest.skip("this LLVM has no AArch64")
    cpu = machine({"threads": 2, "mcpu": "neoverse-n1", "triple": "aarch64-linux-gnu"})
    run = Lowered(_product(_weights(8, 16), np.uint8(3)), ["n", 8], dtypes=["uint8"], cpu=cpu)
    assert ["neoverse-n1 has no instruction for it" in why for why in run.explain.declined] == [True]


def test_signed_codes_and_one_step_for_the_weights() -> None:
    weights = _weights(33, 20)
    run = Lowered(_product(weights, np.int8(-5), np.ones((), np.float32)), ["n", 33], dtypes=["int8"])
    assert not run.explain.declined
    codes = _bytes(5, 33).view(np.int8)
    np.testing.assert_array_equal(run(codes), _exact(codes, -5, weights))


def test_scale_and_zero_point_of_this_call_and_weights_that_are_turned_over() -> None:
    weights, bias = _weights(33, 20), np.arange(20, dtype=np.float32)

    def make(bb: relax.BlockBuilder, x: relax.Expr, step: relax.Expr, zero: relax.Expr) -> relax.Expr:
        turned = relax.const(np.ascontiguousarray(weights.T))
        right = _dequantized(bb, turned, np.ones(20, np.float32), np.zeros(20, np.int8), 0)
        left = _dequantized(bb, x, step, zero)
        made = bb.emit(relax.op.matmul(left, bb.emit(relax.op.permute_dims(right, [1, 0]))))
        return relax.op.add(made, relax.const(bias))

    run = Lowered(make, ["b", "s", 33], [1], [1], dtypes=["uint8", "float32", "uint8"])
    assert not run.explain.declined
    assert any("integer_matmul" in name and "add" in name for name in run.functions)  # the bias within the kernel
    codes = _bytes(2, 5, 33)
    got = run(codes, STEP.reshape(1), np.full(1, 200, np.uint8))
    np.testing.assert_array_equal(got, _exact(codes, 200, weights) + bias)


def test_codes_are_made_where_numbers_are() -> None:
    """The kernel of a norm ends in codes, and that of a product in those for the next."""
    first, second, scale = _weights(48, 32), _weights(32, 16), np.ones(48, np.float32)

    def make(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        value = bb.emit(relax.op.nn.layer_norm(x, relax.const(scale), relax.const(scale), axes=[-1]))
        for weights in (first, second):
            codes = relax.op.quantize(value, relax.const(np.float32(0.05)), relax.const(np.uint8(99)), -1, "uint8")
            left = _dequantized(bb, bb.emit(codes), np.float32(0.05), np.uint8(99))
            steps, none = np.full(weights.shape[1], 1e-3, np.float32), np.zeros(weights.shape[1], np.int8)
            right = _dequantized(bb, relax.const(weights), steps, none, 1)
            value = bb.emit(relax.op.nn.gelu(bb.emit(relax.op.matmul(left, right))))
        return value

    run = Lowered(make, ["b", "s", 48])
    assert not run.explain.declined
    assert len(run.functions) == 3
    assert run(np.random.default_rng(0).standard_normal((2, 5, 48)).astype(np.float32)).shape == (2, 5, 16)


@pytest.mark.parametrize(
    ("axis", "zero", "why"), [(1, 1, "its weights have zero points"), (0, 0, "not those of outputs")]
)
def test_what_is_left_in_float32_says_why(axis: int, zero: int, why: str) -> None:
    weights = _weights(16, 16)

    def make(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        right = _dequantized(bb, relax.const(weights), np.ones(16, np.float32), np.full(16, zero, np.int8), axis)
        return relax.op.matmul(_dequantized(bb, x, STEP, np.uint8(3)), right)

    run = Lowered(make, ["n", 16], dtypes=["uint8"])
    assert [why in said for said in run.explain.declined] == [True, True]  # neither as bytes nor as an integer product
    codes = _bytes(3, 16)
    np.testing.assert_allclose(run(codes), _exact(codes, 3, weights - zero), rtol=1e-6, atol=1e-3)


def test_a_step_for_each_row_is_part_of_the_kernel() -> None:
    weights = _weights(32, 16)

    def make(bb: relax.BlockBuilder, codes: relax.Expr, sizes: relax.Expr) -> relax.Expr:
        right = _dequantized(bb, relax.const(weights), np.ones(16, np.float32), np.zeros(16, np.int8), 1)
        made = bb.emit(relax.op.matmul(_dequantized(bb, codes, STEP, np.uint8(128)), right))
        return relax.op.nn.relu(bb.emit(relax.op.multiply(made, sizes)))

    run = Lowered(make, ["b", "s", 32], ["b", "s", 1], dtypes=["uint8", "float32"])
    assert not run.explain.declined
    assert len(run.functions) == 1
    codes, sizes = _bytes(2, 5, 32), np.arange(10, dtype=np.float32).reshape(2, 5, 1)
    np.testing.assert_array_equal(run(codes, sizes), np.maximum(_exact(codes, 128, weights) * sizes, 0))


@pytest.mark.parametrize(
    ("inputs", "outputs", "window", "zero", "settings"),
    [
        (3, 20, (3, 3), 0, {"padding": 1}),
        (8, 33, (3, 3), 7, {"padding": (1, 0, 2, 1), "strides": 2}),
        (16, 16, (1, 1), 7, {}),
    ],
)
def test_convolutions_are_exact(inputs: int, outputs: int, window: tuple, zero: int, settings: dict) -> None:
    kernel = np.random.default_rng(outputs).integers(-127, 128, (outputs, inputs, *window)).astype(np.int8)

    def make(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        right = _dequantized(bb, relax.const(kernel), np.ones(outputs, np.float32), np.zeros(outputs, np.int8), 0)
        left = _dequantized(bb, x, STEP, np.uint8(zero))
        return relax.op.nn.relu(bb.emit(relax.op.nn.conv2d(left, right, **settings)))

    run = Lowered(make, ["n", inputs, 9, 10], dtypes=["uint8"])
    assert not run.explain.declined
    assert any("integer_conv" in name and "relu" in name for name in run.functions)
    codes = _bytes(2, inputs, 9, 10)
    want = np.maximum(_convolved(codes.astype(np.int64) - zero, kernel, settings), 0)
    np.testing.assert_array_equal(run(codes), want * STEP)


def _convolved(data: np.ndarray, kernel: np.ndarray, settings: dict) -> np.ndarray:
    top, left, bottom, right = np.broadcast_to(settings.get("padding", 0), 4)
    padded = np.pad(data, [(0, 0), (0, 0), (top, bottom), (left, right)])
    step = settings.get("strides", 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))[:, :, ::step, ::step]
    return np.einsum("ncyxhw,ochw->noyx", windows, kernel.astype(np.int64))


@pytest.mark.parametrize("rows", ["n", 1])
def test_weights_alone_stay_bytes(rows: int | str) -> None:
    weights, bias = _weights(33, 20), np.arange(20, dtype=np.float32)

    def make(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        right = _dequantized(bb, relax.const(weights), np.full(20, STEP), np.zeros(20, np.int8), 1)
        return relax.op.add(bb.emit(relax.op.matmul(x, right)), relax.const(bias))

    run = Lowered(make, [rows, 33])
    assert not run.explain.declined
    (kernel,) = run.functions.values()
    assert '"int8"' in kernel.script()
    data = _bytes(1 if rows == 1 else 5, 33).astype(np.float32)
    np.testing.assert_array_equal(run(data), _exact(data, 0, weights).astype(np.float32) + bias)


def test_codes_that_are_added_to_a_product_are_read_within_the_kernel() -> None:
    weights = _weights(33, 20)

    def make(bb: relax.BlockBuilder, x: relax.Expr, other: relax.Expr) -> relax.Expr:
        beside = _dequantized(bb, other, STEP, np.uint8(9))
        made = bb.emit(_product(weights, np.uint8(3))(bb, x))
        return relax.op.quantize(
            bb.emit(relax.op.add(made, beside)), relax.const(np.float32(100)), relax.const(np.uint8(99)), -1, "uint8"
        )

    run = Lowered(make, ["n", 33], ["n", 20], dtypes=["uint8", "uint8"])
    assert not run.explain.declined
    assert len(run.functions) == 1
    codes, other = _bytes(5, 33), _bytes(5, 20)
    total = _exact(codes, 3, weights) + (other.astype(np.float64) - 9) * STEP
    np.testing.assert_array_equal(run(codes, other), np.clip(np.rint(total / 100) + 99, 0, 255).astype(np.uint8))


def test_codes_are_made_in_vectors() -> None:
    """TVM has no vector form of `nearbyint`: it writes such a loop out, one number at a time."""

    def make(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
        return relax.op.quantize(x, relax.const(STEP), relax.const(np.uint8(3)), -1, "uint8")

    run = Lowered(make, ["n", 32], cpu=machine({"threads": 2, "mcpu": "haswell"}))
    assert "gather" not in run.executable.mod.imports[0].inspect_source("asm")
    halves = np.tile(np.array([0.25, 0.75, -0.25, -0.75, 1e9, -1e9, 62.9, -1.6], np.float32), (3, 4))
    want = np.clip(np.rint(halves.astype(np.float64) / STEP) + 3, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(run(halves), want)


def test_the_instruction_wants_bytes() -> None:
    """TVM's own tensor intrinsics hand it vectors of int32, as earlier versions of LLVM wanted them."""

    @T.prim_func(s_tir=True)
    def sums(a: T.Buffer((16,), "int32"), c: T.Buffer((16,), "int32")) -> None:
        c[T.ramp(0, 1, 16)] = T.call_llvm_pure_intrin(
            "int32x16", "llvm.x86.avx512.vpdpbusd.512", a[T.ramp(0, 1, 16)], a[T.ramp(0, 1, 16)], a[T.ramp(0, 1, 16)]
        )

    with pytest.raises(InternalError, match="does not match function signature"):
        tvm.compile(sums, target=of(machine({"mcpu": "cascadelake"})))
