"""TVM: Fourier transforms, Einsum, determinants, windows laid back, numbers with a scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import Agreement, numbers

from compiler.contracts import Dim
from compiler.errors import CompileError

N = Dim("n", 1, 4)


class TestFourier(Agreement):
    @pytest.mark.parametrize("attributes", ["", "inverse = 1", "onesided = 1"])
    @pytest.mark.parametrize("axis", [1, 2])
    def test_dft(self, tmp_path: Path, attributes: str, axis: int) -> None:
        parts = 1 if "onesided" in attributes else 2
        text = f"(float[n,6,5,{parts}] x) => (float[n,a,b,2] y) <int64 axis = {{{axis}}}> {{"
        text += f" y = DFT<{attributes}>(x, , axis) }}".replace("<>", "")
        self.agree(tmp_path, text, *[{"x": numbers(n, 6, 5, parts)} for n in (1, 3)], dims=[N])

    @pytest.mark.parametrize("length", [4, 9])
    def test_a_length_that_is_asked_for(self, tmp_path: Path, length: int) -> None:
        text = f"(float[2,6,1] x) => (float[2,a,2] y) <int64 axis = {{1}}, int64 length = {{{length}}}>"
        x = numbers(2, 6, 1)
        with self.opened(tmp_path, text + " { y = DFT(x, length, axis) }") as session:
            want = np.fft.fft(x[..., 0].astype(np.float64), length)
            np.testing.assert_allclose(session({"x": x})["y"], np.stack([want.real, want.imag], -1), atol=1e-5)

    @pytest.mark.parametrize("length", [7, 8])
    def test_from_half_a_spectrum(self, tmp_path: Path, length: int) -> None:
        signal = numbers(3, length)
        spectrum = np.fft.rfft(signal.astype(np.float64))
        text = (
            f"(float[3,{length // 2 + 1},2] x) => (float[3,{length},1] y) <int64 axis = {{1}}, int64 n = {{{length}}}>"
        )
        with self.opened(tmp_path, text + " { y = DFT<inverse = 1, onesided = 1>(x, n, axis) }") as session:
            given = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)
            np.testing.assert_allclose(session({"x": given})["y"][..., 0], signal, atol=1e-5)

    def test_stft(self, tmp_path: Path) -> None:
        text = """(float[n,40,1] x, float[16] w) => (float[n,f,9,2] y) <int64 step = {8}, int64 size = {16}>
            { y = STFT<onesided = 1>(x, step, w, size) }"""
        self.agree(tmp_path, text, *[{"x": numbers(n, 40, 1), "w": np.abs(numbers(16))} for n in (1, 2)], dims=[N])

    def test_a_signal_of_unknown_length_is_refused(self, tmp_path: Path) -> None:
        text = "(float[1,n,1] x) => (float[1,n,2] y) <int64 axis = {1}> { y = DFT(x, , axis) }"
        with pytest.raises(CompileError) as caught, self.opened(tmp_path, text, N):
            pass
        assert caught.value.code == "unsupported-op"


class TestEinsum(Agreement):
    @pytest.mark.parametrize(
        "equation, result",
        [
            ("bhid,bhjd->bhij", "n,2,3,3"),
            ("bhid,bhjd->bihj", "n,3,2,3"),
            ("...ij,...jk", "n,2,3,4"),
            ("bhij,bhjk->hk", "2,4"),
            ("bhij,bhjk->bhijk", "n,2,3,4,4"),
            ("...ij,...kj->...ki", "n,2,3,3"),
        ],
    )
    def test_two_operands(self, tmp_path: Path, equation: str, result: str) -> None:
        text = (
            f'(float[n,2,3,4] a, float[n,2,4,4] b, float[n,2,3,4] c) => (float[{result}] y) {{ y = Einsum<equation = "'
        )
        second = "c" if "d" in equation or "kj" in equation else "b"
        text += f'{equation}">(a, {second}) }}'
        calls = [
            {"a": numbers(n, 2, 3, 4), "b": numbers(n, 2, 4, 4, seed=1), "c": numbers(n, 2, 3, 4, seed=2)}
            for n in (1, 3)
        ]
        self.agree(tmp_path, text, *calls, dims=[N])

    def test_one_and_three_operands(self, tmp_path: Path) -> None:
        text = """(float[3,3] a, float[3,4] b, float[4] c) => (float[3] diagonal, float trace, float[3] all) {
            diagonal = Einsum<equation = "ii->i">(a)  trace = Einsum<equation = "ii">(a)
            all = Einsum<equation = "ij,jk,k->i">(a, b, c) }"""
        self.agree(tmp_path, text, {"a": numbers(3, 3), "b": numbers(3, 4), "c": numbers(4)})


class TestDeterminants(Agreement):
    def test_they_need_pivots(self, tmp_path: Path) -> None:
        x = numbers(3, 5, 5)
        x[0, 0, 0], x[1, 2], x[2] = 0, x[1, 3], np.eye(5)[[1, 0, 2, 4, 3]]
        text = "(float[n,5,5] x) => (float[n] y) { y = Det(x) }"
        self.agree(tmp_path, text, {"x": x}, {"x": np.zeros((1, 5, 5), np.float32)}, dims=[N])


class TestWindows(Agreement):
    def test_windows_laid_back(self, tmp_path: Path) -> None:
        text = """(float[n,8,12] x) => (float[n,2,5,6] y) <int64[2] image = {5, 6}, int64[2] block = {2, 2}> {
            y = Col2Im<strides = [2, 1], dilations = [1, 2], pads = [1, 0, 0, 0]>(x, image, block) }"""
        self.agree(tmp_path, text, *[{"x": numbers(n, 8, 12)} for n in (1, 3)], dims=[N])


class TestQuantization(Agreement):
    @pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16"])
    def test_there_and_back(self, tmp_path: Path, kind: str) -> None:
        text = f"(float[n,3,4] x, float[3] s, {kind}[3] z) => ({kind}[n,3,4] q, float[n,3,4] y) {{"
        text += " q = QuantizeLinear<axis = 1>(x, s, z)  y = DequantizeLinear<axis = 1>(q, s, z) }"
        far = np.array([[[-1e9, 1e9, 0.5, 1.5]] * 3], np.float32)
        zero = np.array([0, 3, 100]).astype(kind)
        calls = [{"x": x, "s": np.array([1, 0.1, 3], np.float32), "z": zero} for x in (50 * numbers(2, 3, 4), far)]
        self.agree(tmp_path, text, *calls, dims=[N])

    def test_one_scale_and_blocks(self, tmp_path: Path) -> None:
        text = """(float[2,4] x, float s, float[2,2] b) => (int8[2,4] one, int8[2,4] blocks)
            <int8[2,2] z = {0, 1, 2, 3}, int8 none = {0}> {
            one = QuantizeLinear(x, s, none)  blocks = QuantizeLinear<block_size = 2>(x, b, z) }"""
        scales = np.array([[1, 2], [0.5, 0.1]], np.float32)
        self.agree(tmp_path, text, {"x": 9 * numbers(2, 4), "s": np.array(0.3, np.float32), "b": scales})
