"""cosh and sinh out of exponentials: TVM's own have no vector form, and a loop that was made one does not build."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from backends.tvm.lower.vector_math import exp, let

Expr = Any

# Beyond it exp overflows before cosh does; exp(x / 2) twice does not.
_LARGE = {"float32": 80.0, "float64": 700.0}
# sinh(x) / x in x^2 up to 1, where the difference of two exponentials would lose digits: 1 / (2n + 1)!
_TERMS = {"float32": 5, "float64": 10}


def cosh(x: Expr) -> Expr:
    size = tirx.abs(x)
    ordinary = (_exp(size) + _exp(-size)) * _number(0.5, x)
    return tirx.Select(size > _large(x), _twice_half(size), ordinary)


def sinh(x: Expr) -> Expr:
    size = tirx.abs(x)
    ordinary = (_exp(size) - _exp(-size)) * _number(0.5, x)
    large = tirx.Select(size > _large(x), _twice_half(size), ordinary)
    signed = let(large, lambda value: tirx.Select(x < _number(0, x), -value, value))
    return tirx.Select(size < _number(1, x), _series(x), signed)


def _twice_half(size: Expr) -> Expr:
    return let(_exp(size * _number(0.5, size)), lambda half: half * _number(0.5, size) * half)


def _series(x: Expr) -> Expr:
    """x + x^3 / 3! + x^5 / 5! + ..., by Horner's rule."""
    square, total = x * x, _number(0, x)
    for term in range(_TERMS[_dtype(x)], 0, -1):
        total = (_number(1, x) + total) * square * _number(1 / (2 * term * (2 * term + 1)), x)
    return x + x * total


def _exp(x: Expr) -> Expr:
    return exp(x) if _dtype(x) == "float32" else tirx.exp(x)


def _large(x: Expr) -> Expr:
    return _number(_LARGE[_dtype(x)], x)


def _number(value: float, like: Expr) -> Expr:
    return tirx.const(value, _dtype(like))


def _dtype(x: Expr) -> str:
    return str(x.ty.dtype)
