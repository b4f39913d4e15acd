"""TVM: operators on single elements, at ordinary values and at NaN, infinities, ties and overflows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import SPECIAL, Agreement, numbers

# fmt: off
UNARY = [
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "IsInf", "IsNaN", "LeakyRelu", "Neg", "Reciprocal", "Relu", "Round",
    "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "Elu", "Selu", "Celu",
    "HardSigmoid", "HardSwish", "ThresholdedRelu", "Shrink", "Gelu", "Log", "Atan", "Sinh", "Cosh", "Asinh",
]
AT_SPECIAL_VALUES = [
    "Abs", "Ceil", "Exp", "Floor", "IsInf", "IsNaN", "Neg", "Relu", "Round", "Sigmoid", "Sign", "Sqrt", "Tanh", "Log",
    "LeakyRelu", "Erf", "Softplus",
]
IN_OTHER_FLOATS = [
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Relu", "Sigmoid", "Sign", "Sin", "Tanh", "Softplus", "Gelu",
    "Atan",
]
# fmt: on
LOGICAL = {"IsInf", "IsNaN"}


def unary(word: str, size: int, names: list[str]) -> str:
    outputs = ", ".join(f"{'bool' if name in LOGICAL else word}[{size}] {name.lower()}" for name in names)
    return f"({word}[{size}] x) => ({outputs}) {{ " + "  ".join(f"{n.lower()} = {n}(x)" for n in names) + " }"


class TestOneInput(Agreement):
    def test_ordinary_numbers(self, tmp_path: Path) -> None:
        x = 3 * numbers(257)
        self.agree(tmp_path, unary("float", 257, [name for name in UNARY if name not in ("Log", "Sqrt")]), {"x": x})

    def test_as_many_as_fill_vectors(self, tmp_path: Path) -> None:
        """Loops that divide into vectors are built from other intrinsics."""
        names = [name for name in UNARY if name not in ("Log", "Sqrt")]
        self.agree(tmp_path, unary("float", 256, names), {"x": 3 * numbers(256)})

    @pytest.mark.parametrize(
        ("word", "dtype", "scale", "rtol"), [("float", "f4", 1, 1e-6), ("double", "f8", 7.9, 1e-14)]
    )
    def test_hyperbolic_functions_from_end_to_end(
        self, tmp_path: Path, word: str, dtype: str, scale: float, rtol: float
    ) -> None:
        near = np.array([0.0, -0.0, 1e-30, -1e-4, 0.3, 0.999, 1.001, -1.5, 79.9, 80.1, -88.9, 89.3, -89.4, 90.0])
        x = np.concatenate([near * scale, [np.inf, -np.inf, np.nan]]).astype(dtype)
        self.agree(tmp_path, unary(word, len(x), ["Cosh", "Sinh"]), {"x": x}, rtol=rtol)

    def test_positive_numbers(self, tmp_path: Path) -> None:
        self.agree(tmp_path, unary("float", 100, ["Log", "Sqrt", "Acosh"]), {"x": 1 + numbers(100) ** 2})

    def test_within_one(self, tmp_path: Path) -> None:
        names = ["Acos", "Asin", "Atanh"]
        self.agree(tmp_path, unary("float", 64, names), {"x": np.linspace(-0.99, 0.99, 64, dtype=np.float32)})

    def test_special_values(self, tmp_path: Path) -> None:
        self.agree(tmp_path, unary("float", len(SPECIAL), AT_SPECIAL_VALUES), {"x": SPECIAL})

    @pytest.mark.parametrize("dtype", ["float64", "float16"])
    def test_other_floats(self, tmp_path: Path, dtype: str) -> None:
        word = {"float64": "double"}.get(dtype, dtype)
        x = numbers(65, dtype=dtype)
        self.agree(tmp_path, unary(word, 65, IN_OTHER_FLOATS), {"x": x}, rtol=1e-6 if dtype == "float64" else 2e-6)

    def test_whole_numbers(self, tmp_path: Path) -> None:
        x = np.array([-(2**62), -3, 0, 5, 2**62 - 1], np.int64)
        self.agree(tmp_path, unary("int64", 5, ["Abs", "Neg", "Sign"]), {"x": x})


class TestTwoInputs(Agreement):
    def test_shapes_broadcast(self, tmp_path: Path) -> None:
        text = "(float[3,1,5] a, float[4,1] b) => (float[3,4,5] s, float[3,4,5] d, float[3,4,5] m, bool[3,4,5] l) {"
        text += " s = Add(a, b)  d = Div(a, b)  m = Max(a, b)  l = Less(a, b) }"
        self.agree(tmp_path, text, {"a": numbers(3, 1, 5), "b": numbers(4, 1, seed=1)})

    def test_nan_wins_in_max_and_min(self, tmp_path: Path) -> None:
        count = len(SPECIAL)
        text = f"(float[{count}] a, float[{count}] b) => (float[{count}] most, float[{count}] least, "
        text += f"bool[{count}] same, bool[{count}] ge) {{"
        text += " most = Max(a, b)  least = Min(a, b)  same = Equal(a, b)  ge = GreaterOrEqual(a, b) }"
        self.agree(tmp_path, text, {"a": SPECIAL, "b": SPECIAL[::-1].copy()})

    def test_clip_keeps_nan(self, tmp_path: Path) -> None:
        text = "(float[12] x, float high) => (float[12] y, float[12] z) <float low = {-1}, float up = {1}> {"
        text += " y = Clip(x, low, up)  z = Clip(x, low, high) }"
        self.agree(tmp_path, text, {"x": SPECIAL, "high": np.array(1.25, np.float32)})

    def test_division_of_whole_numbers(self, tmp_path: Path) -> None:
        """Towards zero; the remainder has the sign of the divisor, or with fmod that of the dividend."""
        a = np.array([7, -7, 7, -7, 0, 2**62], np.int64)
        b = np.array([2, 2, -2, -2, 3, -7], np.int64)
        text = "(int64[6] a, int64[6] b) => (int64[6] q, int64[6] r, int64[6] f) {"
        text += " q = Div(a, b)  r = Mod(a, b)  f = Mod<fmod = 1>(a, b) }"
        self.agree(tmp_path, text, {"a": a, "b": b})

    @pytest.mark.parametrize("dtype", ["float", "double", "float16"])
    def test_remainders_of_fractions(self, tmp_path: Path, dtype: str) -> None:
        kind = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        a = np.array([7.5, -7.5, 7.5, -7.5, 1e4, 0, 1, -1, np.inf, np.nan], kind)
        b = np.array([2, 2, -2, -2, 0.1, 3, np.inf, np.inf, 2, 1], kind)
        text = f"({dtype}[10] a, {dtype}[10] b) => ({dtype}[10] r, {dtype}[10] f)"
        text += " { r = Mod(a, b)  f = Mod<fmod = 1>(a, b) }"
        with self.opened(tmp_path, text) as session, np.errstate(invalid="ignore"):
            got = session({"a": a, "b": b})
            np.testing.assert_array_equal(got["r"], np.mod(a, b))
            np.testing.assert_array_equal(got["f"], np.fmod(a, b))

    def test_a_division_that_traps_does_not_end_the_process(self, tmp_path: Path) -> None:
        text = "(int64[2] a, int64[2] b) => (int64[2] q) { q = Div(a, b) }"
        with self.opened(tmp_path, text) as session:
            assert session({"a": np.array([5, -(2**63)]), "b": np.array([0, -1])})["q"].shape == (2,)

    @pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0])
    def test_powers(self, tmp_path: Path, exponent: float) -> None:
        text = f"(float[64] x) => (float[64] y) <float e = {{{exponent}}}> {{ y = Pow(x, e) }}"
        self.agree(tmp_path, text, {"x": np.abs(numbers(64)) + np.float32(0.1)})

    def test_bits(self, tmp_path: Path) -> None:
        text = "(int32[4] a, int32[4] b, uint8[2] u, uint8[2] v) => (int32[4] x, int32[4] y, int32[4] z, int32[4] n,"
        text += " uint8[2] l, uint8[2] r) { x = BitwiseAnd(a, b)  y = BitwiseOr(a, b)  z = BitwiseXor(a, b)"
        text += ' n = BitwiseNot(a)  l = BitShift<direction = "LEFT">(u, v)  r = BitShift<direction = "RIGHT">(u, v) }'
        a = np.array([1, -1, 12, 7], np.int32)
        u = np.array([255, 3], np.uint8)
        self.agree(tmp_path, text, {"a": a, "b": a[::-1].copy(), "u": u, "v": np.array([1, 2], np.uint8)})


class TestCasts(Agreement):
    def test_numbers_to_other_types(self, tmp_path: Path) -> None:
        text = "(float[5] x, int64[3] i, bool[2] b) => (int64[5] a, bool[5] t, double[5] d, int8[3] n, float[2] f) {"
        text += " a = Cast<to = 7>(x)  t = Cast<to = 9>(x)  d = Cast<to = 11>(x)  n = Cast<to = 3>(i)"
        text += " f = Cast<to = 1>(b) }"
        x = np.array([0.5, -1.7, 0, 1e9, -0.0], np.float32)
        self.agree(tmp_path, text, {"x": x, "i": np.array([1, -2, 300]), "b": np.array([True, False])})
