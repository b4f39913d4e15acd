"""Activation functions, each as a formula of one element or as Relax's own operator."""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx

from backends.tvm.emit.elementwise import (
    broadcast,
    elementwise,
    float_unary,
    is_float,
    maximum,
    minimum,
    number,
    relax_unary,
)
from backends.tvm.emit.op import Emit, Op, Result


def _relu(op: Op) -> Result:
    if not is_float(op.dtype()):
        return broadcast(op, lambda x: tirx.max(x, number(0, x)), op.x())
    return relax.op.nn.relu(op.x())


def _elu(op: Op, x: Any) -> Any:
    return tirx.Select(x < number(0, x), number(op.attr("alpha", 1.0), x) * (tirx.exp(x) - number(1, x)), x)


def _selu(op: Op, x: Any) -> Any:
    alpha, gamma = number(op.attr("alpha"), x), number(op.attr("gamma"), x)
    return gamma * tirx.Select(x <= number(0, x), alpha * tirx.exp(x) - alpha, x)


def _celu(op: Op, x: Any) -> Any:
    alpha, zero = number(op.attr("alpha", 1.0), x), number(0, x)
    return tirx.Select(x > zero, x, alpha * (tirx.exp(x / alpha) - number(1, x)))


def _leaky(op: Op, x: Any) -> Any:
    return tirx.Select(x < number(0, x), number(op.attr("alpha", 0.01), x) * x, x)


def _thresholded(op: Op, x: Any) -> Any:
    return tirx.Select(x <= number(op.attr("alpha", 1.0), x), number(0, x), x)


def _softplus_of(x: Any) -> Any:
    """log(1 + exp(x)) without overflow; and without the loss of small values that log(1 + tiny) has."""
    zero = number(0, x)
    small = tirx.exp(-tirx.abs(x))
    # log1p(e) = e - e²/2 + e³/3 for tiny e, where 1 + e would swallow it.
    series = small * (number(1, x) - small * (number(0.5, x) - small * number(1 / 3, x)))
    log1p = tirx.Select(
        small < number(1e-2 if str(x.ty.dtype) == "float32" else 1e-5, x), series, tirx.log(number(1, x) + small)
    )
    return tirx.Select(x > zero, x, tirx.Select(x <= zero, zero, x)) + log1p


def _hard_sigmoid(op: Op, x: Any) -> Any:
    line = number(op.attr("alpha", 0.2), x) * x + number(op.attr("beta", 0.5), x)
    return minimum(maximum(line, number(0, x)), number(1, x))


def _hard_swish(op: Op, x: Any) -> Any:
    return x * minimum(maximum(x * number(1 / 6, x) + number(0.5, x), number(0, x)), number(1, x))


def _swish(op: Op) -> Result:
    alpha = op.attr("alpha", 1.0)
    x = op.x()
    if alpha == 1.0:
        return relax_unary(relax.op.nn.silu)(op)
    scaled = op.emit(relax.op.multiply(x, op.const(alpha, op.dtype())))
    return relax.op.multiply(x, op.emit(relax.op.sigmoid(scaled)))


def _gelu(op: Op) -> Result:
    make = relax.op.nn.gelu_tanh if op.attr("approximate", "none") == "tanh" else relax.op.nn.gelu
    return relax_unary(make)(op)


def _shrink(op: Op, x: Any) -> Any:
    bias, edge = number(op.attr("bias", 0.0), x), number(op.attr("lambd", 0.5), x)
    return tirx.Select(x < -edge, x + bias, tirx.Select(x > edge, x - bias, number(0, x)))


def _prelu(op: Op, x: Any, slope: Any) -> Any:
    return tirx.Select(x < number(0, x), slope * x, x)


EMIT: dict[str, Emit] = {
    "Celu": elementwise(_celu),
    "Elu": elementwise(_elu),
    "Gelu": _gelu,
    "HardSigmoid": elementwise(_hard_sigmoid),
    "HardSwish": elementwise(_hard_swish),
    "LeakyRelu": elementwise(_leaky),
    "PRelu": elementwise(_prelu),
    "Relu": _relu,
    "Selu": elementwise(_selu),
    "Shrink": elementwise(_shrink),
    "Sigmoid": relax_unary(relax.op.sigmoid),
    "Softplus": float_unary(_softplus_of),
    "Softsign": float_unary(lambda x: x / (number(1, x) + tirx.abs(x))),
    "Swish": _swish,
    "Tanh": relax_unary(relax.op.tanh),
    "ThresholdedRelu": elementwise(_thresholded),
}
