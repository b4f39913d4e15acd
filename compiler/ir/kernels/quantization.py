"""Linear quantization: one scale for all, one for each slice of an axis, or one for each block along it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Result, normalize_axis


def _spread(parameter: Array, x: Array, axis: int, block: int) -> Array:
    """A scale or zero point in a shape that broadcasts with `x`."""
    if parameter.size == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    place = normalize_axis(axis, x.ndim)
    if parameter.ndim == 1 and not block:
        return parameter.reshape([-1 if dim == place else 1 for dim in range(x.ndim)])
    size = block or -(-x.shape[place] // parameter.shape[place])
    return np.take(np.repeat(parameter, size, axis=place), np.arange(x.shape[place]), axis=place)


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in ("int4", "uint4", "int2", "uint2")


def _quantize(call: Call, x: Array, scale: Array, zero: Array | None = None) -> Array:
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    code = call.get("output_dtype") or ir.DataType.UINT8
    dtype = zero.dtype if zero is not None else ir.DataType(code).numpy()
    steps = call.element_type(call["precision"]) if call.get("precision") else scale.dtype
    ratio = x.astype(steps) / _spread(scale, x, axis, block).astype(steps)
    shift = None if zero is None else _spread(zero, x, axis, block)
    return _saturated(call, ratio, shift, dtype)


def _saturated(call: Call, ratio: Array, zero: Array | None, dtype: np.dtype[Any]) -> Array:
    if not _is_integer(dtype):
        from onnx.helper import np_dtype_to_tensor_dtype
        from onnx.reference.ops.op_cast import cast_to

        return np.asarray(cast_to(ratio, np_dtype_to_tensor_dtype(dtype), bool(call.get("saturate", 1))))
    info = ir.DataType.from_numpy(dtype)
    signed, bits = dtype.name.startswith("int"), info.bitwidth
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    whole = np.rint(ratio).astype(np.float64)
    if zero is not None:
        whole = whole + zero.astype(np.float64)
    return np.clip(whole, low, high).astype(np.int64).astype(dtype)


def _dequantize(call: Call, x: Array, scale: Array, zero: Array | None = None) -> Array:
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    dtype = call.element_type(call["output_dtype"]) if call.get("output_dtype") else scale.dtype
    values: Any = x.astype(np.int64) if _is_integer(x.dtype) else x.astype(np.float32)
    if zero is not None and _is_integer(x.dtype):
        values = values - _spread(zero, x, axis, block).astype(np.int64)
    wide = np.promote_types(np.float32, scale.dtype) if scale.dtype.kind == "f" else np.dtype(np.float32)
    return np.asarray(values.astype(wide) * _spread(scale, x, axis, block).astype(wide)).astype(dtype)


def _dynamic(call: Call, x: Array) -> Result:
    low, high = min(0.0, x.min(initial=0)), max(0.0, x.max(initial=0))
    scale = np.asarray((high - low) / 255, x.dtype)
    zero = np.clip(np.rint(-low / scale), 0, 255) if scale else 0.0
    ratio = x / scale if scale else np.zeros_like(x)
    point = np.asarray(zero, np.uint8)
    return _saturated(call, ratio, point, np.dtype(np.uint8)), scale, point


TABLE: dict[str, Kernel] = {
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic,
    "QuantizeLinear": _quantize,
}
