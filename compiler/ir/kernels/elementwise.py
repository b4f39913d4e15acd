"""Operators that compute each element by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Result, Tensor, in_torch, is_float


def _unary(function: Callable[[Array], Array]) -> Kernel:
    return lambda call, x: function(x)


def _binary(function: Callable[[Array, Array], Array]) -> Kernel:
    return lambda call, x, y: function(x, y)


def _variadic(function: Callable[[Array, Array], Array]) -> Kernel:
    return lambda call, *inputs: reduce(function, inputs)


def _in_torch(function: Callable[[Tensor], Tensor]) -> Kernel:
    return in_torch(lambda call, x: function(x))


def _scalar(x: Array, value: float) -> Any:
    return np.asarray(value, x.dtype)


def _mean(call: Call, *inputs: Array) -> Result:
    total: Array = reduce(np.add, inputs)
    return total / _scalar(total, len(inputs))


def _divide(call: Call, x: Array, y: Array) -> Array:
    if is_float(x) or x.dtype.kind == "c":
        return np.asarray(np.divide(x, y))
    if not np.all(y):
        raise ZeroDivisionError("integer division by zero")
    quotient = np.floor_divide(x, y)
    if x.dtype.kind == "u":
        return quotient
    # ONNX truncates towards zero, numpy rounds down.
    inexact = quotient * y != x
    return np.asarray(quotient + (inexact & ((x < 0) != (y < 0))), x.dtype)


def _mod(call: Call, x: Array, y: Array) -> Array:
    if not is_float(x) and not np.all(y):
        raise ZeroDivisionError("integer division by zero")
    return np.fmod(x, y) if call["fmod"] else np.mod(x, y)


def _power(call: Call, x: Array, y: Array) -> Result:
    if is_float(x):
        return np.power(x, y.astype(x.dtype))
    if is_float(y) or (y.dtype.kind == "i" and np.any(y < 0)):
        return np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)
    return np.power(x, y).astype(x.dtype)


def _clip(call: Call, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    if "min" in call.attributes or "max" in call.attributes:  # before opset 11
        low, high = (None if call.get(name) is None else _scalar(x, call[name]) for name in ("min", "max"))
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _select(x: Array, condition: Array, yes: Array, no: Array) -> Array:
    return np.where(condition, yes, no).astype(x.dtype, copy=False)


def _elu(call: Call, x: Array) -> Array:
    return _select(x, x < 0, _scalar(x, call["alpha"]) * np.expm1(np.minimum(x, 0)), x)


def _celu(call: Call, x: Array) -> Array:
    alpha = _scalar(x, call["alpha"])
    return _select(x, x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x)


def _selu(call: Call, x: Array) -> Result:
    alpha, gamma = _scalar(x, call["alpha"]), _scalar(x, call["gamma"])
    return gamma * _select(x, x <= 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _leaky_relu(call: Call, x: Array) -> Array:
    return _select(x, x < 0, _scalar(x, call["alpha"]) * x, x)


def _prelu(call: Call, x: Array, slope: Array) -> Array:
    return _select(x, x < 0, slope * x, x)


def _thresholded_relu(call: Call, x: Array) -> Array:
    # Written so that NaN, which compares false, passes.
    return _select(x, x <= _scalar(x, call["alpha"]), np.zeros_like(x), x)


def _unit_clip(x: Array) -> Result:
    return np.minimum(np.maximum(x, _scalar(x, 0)), _scalar(x, 1))


def _hard_sigmoid(call: Call, x: Array) -> Result:
    return _unit_clip(_scalar(x, call["alpha"]) * x + _scalar(x, call["beta"]))


def _hard_swish(call: Call, x: Array) -> Result:
    return x * _unit_clip(x / _scalar(x, 6) + _scalar(x, 0.5))


def _softplus(x: Array) -> Result:
    return np.logaddexp(_scalar(x, 0), x)


def _softsign(call: Call, x: Array) -> Result:
    return x / (_scalar(x, 1) + np.abs(x))


def _shrink(call: Call, x: Array) -> Array:
    bias, lambd = _scalar(x, call["bias"]), _scalar(x, call["lambd"])
    return _select(x, x < -lambd, x + bias, _select(x, (x >= -lambd) & (x <= lambd), np.zeros_like(x), x - bias))


def _gelu(call: Call, x: Tensor) -> Tensor:
    return torch.nn.functional.gelu(x, approximate=call["approximate"])


def _swish(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call["alpha"] * x)


def _mish(call: Call, x: Array) -> Result:
    return x * np.tanh(_softplus(x))


def _is_infinite(call: Call, x: Array) -> Array:
    signs = np.zeros(x.shape, bool)
    if call["detect_positive"]:
        signs |= x > 0
    if call["detect_negative"]:
        signs |= x < 0
    return np.isinf(x) & signs


def _bit_shift(call: Call, x: Array, y: Array) -> Array:
    # C, and numpy with it, leaves a shift by the full width undefined.
    width = x.dtype.itemsize * 8
    near = np.minimum(y, width - 1).astype(x.dtype)
    if call["direction"] == "LEFT":
        return _select(x, y >= width, np.zeros_like(x), np.left_shift(x, near))
    beyond = np.where(x < 0, -1, 0).astype(x.dtype)
    return _select(x, y >= width, beyond, np.right_shift(x, near))


def _where(call: Call, condition: Array, yes: Array, no: Array) -> Array:
    return np.where(condition, yes, no)


def _dropout(call: Call, x: Array, ratio: Array | None = None, training: Array | None = None) -> Any:
    if training is not None and bool(training) and (ratio is None or float(ratio) > 0):
        raise ValueError("Dropout in training mode is random")
    return x, np.ones(x.shape, bool)


TABLE: dict[str, Kernel] = {
    "Abs": _unary(np.abs),
    "Acos": _unary(np.arccos),
    "Acosh": _unary(np.arccosh),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Asin": _unary(np.arcsin),
    "Asinh": _unary(np.arcsinh),
    "Atan": _unary(np.arctan),
    "Atanh": _unary(np.arctanh),
    "BitShift": _bit_shift,
    "BitwiseAnd": _binary(np.bitwise_and),
    "BitwiseNot": _unary(np.bitwise_not),
    "BitwiseOr": _binary(np.bitwise_or),
    "BitwiseXor": _binary(np.bitwise_xor),
    "Ceil": _unary(np.ceil),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _unary(np.cos),
    "Cosh": _unary(np.cosh),
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": _elu,
    "Equal": _binary(np.equal),
    "Erf": _in_torch(torch.erf),
    "Exp": _unary(np.exp),
    "Floor": _unary(np.floor),
    "Gelu": in_torch(_gelu),
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": lambda call, x: x,
    "IsInf": _is_infinite,
    "IsNaN": _unary(np.isnan),
    "LeakyRelu": _leaky_relu,
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Log": _unary(np.log),
    "Max": _variadic(np.maximum),
    "Mean": _mean,
    "Min": _variadic(np.minimum),
    "Mish": _mish,
    "Mod": _mod,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": lambda call, x: _scalar(x, 1) / x,
    "Relu": lambda call, x: np.maximum(x, _scalar(x, 0)),
    "Round": _unary(np.rint),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _in_torch(torch.sigmoid),
    "Sign": _unary(np.sign),
    "Sin": _unary(np.sin),
    "Sinh": _unary(np.sinh),
    "Softplus": _unary(_softplus),
    "Softsign": _softsign,
    "Sqrt": _unary(np.sqrt),
    "Sub": _binary(np.subtract),
    "Sum": _variadic(np.add),
    "Swish": in_torch(_swish),
    "Tan": _unary(np.tan),
    "Tanh": _unary(np.tanh),
    "ThresholdedRelu": _thresholded_relu,
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
