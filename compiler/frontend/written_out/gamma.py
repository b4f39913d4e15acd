"""The logarithm of the gamma function, its derivatives, and Hurwitz' zeta."""

from __future__ import annotations

import math

import torch

from compiler.frontend.written_out.rule import Arguments, Rule, Rules
from compiler.frontend.written_out.series import is_single, series

_aten = torch.ops.aten

# lgamma(x) / ((x - 1) (x - 2)) over [1, 3]
_FROM_1_TO_3 = (
    0.4414890255, -0.1111958032, 0.01951044826, -0.003922461463, 0.0008478989896, -0.0001915385534,
    4.454470185e-5, -1.057287437e-5, 2.547433687e-6, -6.208535881e-7, 1.52686774e-7, -3.78263766e-8,
)  # fmt: skip


def log_gamma(x: torch.Tensor) -> torch.Tensor:
    """Below 1/2: lgamma(x) = log(pi / |sin(pi x)|) - lgamma(1 - x)."""
    mirrored = x < 0.5
    right = _log_gamma_right(torch.where(mirrored, 1 - x, x))
    return torch.where(mirrored, math.log(math.pi) - _sine_of_pi(x).abs().log() - right, right)


def _log_gamma_right(x: torch.Tensor) -> torch.Tensor:
    """From 1/2 on; below 1 lgamma(x) = lgamma(x + 1) - log(x), above 3 Stirling's series."""
    small = x < 1
    moved = torch.where(small, x + 1, x)
    near = (moved - 1) * (moved - 2) * series(moved, 1.0, 3.0, _FROM_1_TO_3)
    near = torch.where(small, near - x.log(), near)
    far = x.clamp(min=3.0)
    inverse = far.reciprocal()
    square = inverse * inverse
    correction = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))
    stirling = (far - 0.5) * (far.log() - 1) + (math.log(2 * math.pi) - 1) / 2 + correction * inverse
    return torch.where(x > 3, torch.where(x.isinf(), x, stirling), near)


def _sine_of_pi(x: torch.Tensor) -> torch.Tensor:
    return (math.pi * (x - x.round())).sin()


def _log_of_several(x: torch.Tensor, p: int) -> torch.Tensor:
    """mvlgamma."""
    total = torch.full_like(x, p * (p - 1) / 4 * math.log(math.pi))
    for step in range(p):
        total = total + log_gamma(x - step / 2)
    return total


# -- derivatives -----------------------------------------------------------------------------------------------------

_STEPS = 6


def _digamma(x: torch.Tensor) -> torch.Tensor:
    """Left of 0: digamma(x) = digamma(1 - x) - pi / tan(pi x)."""
    mirrored = x <= 0
    right = _digamma_right(torch.where(mirrored, 1 - x, x))
    off = x - x.round()
    left = right - math.pi / (math.pi * off).tan()
    left = torch.where(off == 0, torch.full_like(left, math.nan), left)
    infinity = torch.full_like(x, math.inf)
    at_zero = torch.where(x.reciprocal() < 0, infinity, -infinity)
    return torch.where(x == 0, at_zero, torch.where(mirrored, left, right))


def _digamma_right(x: torch.Tensor) -> torch.Tensor:
    """digamma(x) = digamma(x + 1) - 1 / x, until the asymptotic series holds."""
    before = torch.zeros_like(x)
    near = x < _STEPS
    for step in range(_STEPS):
        before = before + (x + step).reciprocal()
    far = torch.where(near, x + _STEPS, x)
    inverse = far.reciprocal()
    square = inverse * inverse
    correction = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
    return far.log() - inverse / 2 - correction - torch.where(near, before, torch.zeros_like(before))


def _polygamma(n: int, x: torch.Tensor) -> torch.Tensor:
    if n == 0:
        return _digamma(x)
    if n == 1:
        return _zeta_of_whole(2, x)
    return (-1) ** (n + 1) * math.factorial(n) * _zeta_of_whole(n + 1, x)


def _is_single_derivative(node: torch.fx.Node, given: Arguments) -> bool:
    return given["n"] <= 8 and is_single(node, given)


# -- zeta(s, x), the sum of (x + k) ** -s over all k >= 0 ------------------------------------------------------------

_TERMS = 10  # before Euler and Maclaurin's formula takes over
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600)


def _zeta_of_whole(s: int, x: torch.Tensor) -> torch.Tensor:
    """Left of 0, with y = x - floor(x): zeta(s, x) = zeta(s, y) + (-1)^s (zeta(s, 1 - y) - zeta(s, 1 - x))."""
    left = x <= 0
    y = torch.where(left, x - x.floor(), x)
    right = _zeta_right(s, y)
    mirrored = right + (-1) ** s * (_zeta_right(s, 1 - y) - _zeta_right(s, torch.where(left, 1 - x, x)))
    whole = left & (y == 0)
    return torch.where(whole, torch.full_like(x, math.inf), torch.where(left, mirrored, right))


def _zeta_right(s: int | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    total = x**-s
    for step in range(1, _TERMS):
        total = total + (x + step) ** -s
    far = x + _TERMS
    last = far**-s
    rest = far * last / (s - 1) + last / 2
    factor = s * last / far
    for count, bernoulli in enumerate(_BERNOULLI):
        rest = rest + bernoulli * factor
        factor = factor * (s + 2 * count + 1) * (s + 2 * count + 2) / (far * far)
    return total + rest


RULES: Rules = {
    _aten.digamma.default: Rule(_digamma, is_single),
    _aten.lgamma.default: Rule(log_gamma, is_single),
    _aten.mvlgamma.default: Rule(_log_of_several, is_single),
    _aten.polygamma.default: Rule(_polygamma, _is_single_derivative),
    _aten.special_digamma.default: Rule(_digamma, is_single),
    _aten.special_gammaln.default: Rule(log_gamma, is_single),
    _aten.special_multigammaln.default: Rule(_log_of_several, is_single),
    _aten.special_polygamma.default: Rule(_polygamma, _is_single_derivative),
    _aten.special_psi.default: Rule(_digamma, is_single),
}
