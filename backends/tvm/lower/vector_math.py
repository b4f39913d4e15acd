"""Transcendental functions as straight-line float32 arithmetic, which LLVM turns into vector code.

A call into libm would be made once for each lane. Every function here keeps NaN, both infinities and overflow as IEEE
says, and stays within a few units in the last place; tests/backends/tvm_lower/test_vector_math.py measures that.
Select is written so that a NaN falls through: `x < low` is false for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.runtime import convert

Expr = Any  # a tirx.PrimExpr of type float32

# 1.5 * 2^23: adding it to a small number leaves that number, rounded, in the low bits.
_ROUNDER = 12582912.0
_ROUNDER_BITS = 0x4B400000


def f32(value: float) -> Expr:
    return tirx.const(value, "float32")


def i32(value: int) -> Expr:
    return tirx.const(value, "int32")


def at_least(x: Expr, low: float) -> Expr:
    return tirx.Select(x < f32(low), f32(low), x)


def at_most(x: Expr, high: float) -> Expr:
    return tirx.Select(x > f32(high), f32(high), x)


def larger(x: Expr, y: Expr) -> Expr:
    """The maximum; NaN if either is, as ONNX and numpy have it. (TVM takes x != x for false, so the sum tells.)"""
    return tirx.Select(x > y, x, tirx.Select(y >= x, y, x + y))


def smaller(x: Expr, y: Expr) -> Expr:
    return tirx.Select(x < y, x, tirx.Select(y <= x, y, x + y))


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's rule, highest power first."""
    total = f32(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + f32(coefficient)
    return total


def let(value: Expr, body: Any) -> Expr:
    """`body` of a value that is computed once; TVM's expressions are trees, so sharing needs a name."""
    value = convert(value)  # an element of a te tensor is no expression yet
    name = tirx.Var("t", value.ty.dtype)
    return tirx.Let(name, value, body(name))


# (e^f - 1 - f) / f^2 on |f| <= ln(2)/2; a minimax fit of our own, like the others below (relative error 3e-9).
_EXP = (0.00138146019, 0.0083687152, 0.0416683879, 0.166665206, 0.499999934)


def exp(x: Expr) -> Expr:
    """2^n * e^f with n = round(x / ln 2); 2^n in two factors, so that both ends run into infinity and zero gently."""

    def scaled(power: Expr, mantissa: Expr) -> Expr:
        half = power >> i32(1)
        return mantissa * _power_of_two(half) * _power_of_two(power - half)

    return let(at_most(at_least(x, -105.0), 89.0), lambda clamped: _exp(clamped, scaled))


def exp_within(x: Expr) -> Expr:
    """The same for -87 <= x <= 88, where one factor is enough. NaN stays NaN."""
    return let(x, lambda y: _exp(y, lambda power, mantissa: mantissa * _power_of_two(power)))


def rounded(x: Expr) -> Expr:
    """The nearest whole number, as int32, ties to the even one, for |x| up to 2^22."""
    return tirx.reinterpret("int32", x + f32(_ROUNDER)) - i32(_ROUNDER_BITS)


def _power_of_two(power: Expr) -> Expr:
    return tirx.reinterpret("float32", (power + i32(127)) << i32(23))


def _exp(x: Expr, scaled: Callable[[Expr, Expr], Expr]) -> Expr:
    def parts(shifted: Expr) -> Expr:
        n = shifted - f32(_ROUNDER)
        # ln 2 in two pieces: n times the first is exact.
        fraction = let(n, lambda m: x - m * f32(0.693359375) + m * f32(2.12194440e-4))
        power = tirx.reinterpret("int32", shifted) - i32(_ROUNDER_BITS)
        return let(power, lambda k: scaled(k, let(fraction, lambda f: polynomial(f, _EXP) * (f * f) + f + f32(1.0))))

    return let(x * f32(1.44269504088896341) + f32(_ROUNDER), parts)


def sigmoid(x: Expr) -> Expr:
    return f32(1.0) / (f32(1.0) + exp(f32(0.0) - x))


def silu(x: Expr) -> Expr:
    """x * sigmoid(x); NaN at -inf, as in PyTorch."""
    return let(x, lambda y: y / (f32(1.0) + exp(f32(0.0) - y)))


# erf(x)/x - 1 in x^2 up to _ERF_SPLIT; the logarithm of 1 - erf(x) above.
_ERF_SPLIT = 0.92
_ERF_SMALL = (8.38240885e-05, -0.000814560262, 0.00520128663, -0.0268595004, 0.112836973, -0.376126339, 0.128379167)
_ERF_LARGE = (0.00019593726, -0.00304321761, 0.0222269212, -0.103931598, -0.637182246, -1.12767563, -0.000195675386)
_ERF_LIMIT = 4.0  # beyond it erf rounds to 1


def erf(x: Expr) -> Expr:
    def signed(y: Expr) -> Expr:
        size = at_most(absolute(y), _ERF_LIMIT)
        large = let(size, lambda t: f32(1.0) - exp_within(polynomial(t, _ERF_LARGE)))
        small = y + y * let(y * y, lambda square: polynomial(square, _ERF_SMALL))
        return tirx.Select(absolute(y) > f32(_ERF_SPLIT), with_sign_of(y, large), small)

    return let(x, signed)


# (tanh(x)/x - 1)/x^2 in x^2 up to _TANH_SPLIT.
_TANH_SPLIT = 0.625
_TANH_SMALL = (-0.00570498726, 0.0206390875, -0.0537397152, 0.133314422, -0.333332819)
_TANH_LIMIT = 10.0  # beyond it tanh rounds to 1


def tanh(x: Expr) -> Expr:
    def signed(y: Expr) -> Expr:
        size = at_most(absolute(y), _TANH_LIMIT)
        large = f32(1.0) - f32(2.0) / (exp_within(size * f32(2.0)) + f32(1.0))
        small = y + y * let(y * y, lambda square: square * polynomial(square, _TANH_SMALL))
        return tirx.Select(absolute(y) > f32(_TANH_SPLIT), with_sign_of(y, large), small)

    return let(x, signed)


def absolute(x: Expr) -> Expr:
    return tirx.reinterpret("float32", tirx.reinterpret("int32", x) & i32(0x7FFFFFFF))


def with_sign_of(x: Expr, magnitude: Expr) -> Expr:
    sign = tirx.reinterpret("int32", x) & tirx.const(-0x80000000, "int32")
    return tirx.reinterpret("float32", tirx.reinterpret("int32", magnitude) | sign)


def gelu(x: Expr) -> Expr:
    return let(x, lambda y: f32(0.5) * y * (f32(1.0) + erf(y * f32(0.7071067811865476))))


def gelu_tanh(x: Expr) -> Expr:
    def curve(y: Expr) -> Expr:
        inner = f32(0.7978845608028654) * (y + f32(0.044715) * y * y * y)
        return f32(0.5) * y * (f32(1.0) + tanh(inner))

    return let(x, curve)
