"""Operators that move elements around, or make them, without computing on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.contracts import Array
from compiler.ir.kernels.support import BFLOAT16, Call, Kernel, Result, ints, normalize_axes, normalize_axis


def _cast_to(call: Call, x: Array, dtype: np.dtype[Any]) -> Array:
    """Casts as the reference does where the target is narrower than a byte or saturates."""
    if x.dtype == dtype:
        return x
    if dtype.isbuiltin == 1 or dtype == BFLOAT16:
        return np.asarray(x).astype(dtype)
    from onnx.helper import np_dtype_to_tensor_dtype
    from onnx.reference.ops.op_cast import cast_to

    to = np_dtype_to_tensor_dtype(dtype)
    return np.asarray(cast_to(x, to, bool(call.get("saturate", 1)), call.get("round_mode", "up")))


def _cast(call: Call, x: Array) -> Array:
    return _cast_to(call, x, call.element_type(call["to"]))


def _cast_like(call: Call, x: Array, like: Array) -> Array:
    return _cast_to(call, x, like.dtype)


def _reshape(call: Call, x: Array, shape: Array) -> Array:
    sizes = ints(shape) or []
    if not call.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, x: Array) -> Array:
    axis = call["axis"] + x.ndim if call["axis"] < 0 else call["axis"]
    return x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), int(np.prod(x.shape[axis:], dtype=np.int64)))


def _transpose(call: Call, x: Array) -> Array:
    return np.transpose(x, call.get("perm"))


def _axes(call: Call, given: Array | None) -> list[int] | None:
    """Axes, which are an input since opset 13 (18 for most reductions) and were an attribute before."""
    return ints(given) if given is not None else call.get("axes")


def _squeeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    chosen = _axes(call, axes)
    if chosen is None:
        return np.squeeze(x)
    return np.squeeze(x, normalize_axes(chosen, x.ndim))


def _unsqueeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    chosen = _axes(call, axes) or []
    return np.expand_dims(x, normalize_axes(chosen, x.ndim + len(chosen)))


def _concat(call: Call, *inputs: Array) -> Array:
    return np.concatenate(inputs, axis=normalize_axis(call["axis"], inputs[0].ndim))


def _split(call: Call, x: Array, split: Array | None = None) -> tuple[Array, ...]:
    axis = normalize_axis(call["axis"], x.ndim)
    sizes = ints(split) if split is not None else call.get("split")
    if sizes is None:
        pieces = call.get("num_outputs") or call.outputs
        size = -(-x.shape[axis] // pieces)
        sizes = [max(0, min(size, x.shape[axis] - size * piece)) for piece in range(pieces)]
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"the split {list(sizes)} does not add up to {x.shape[axis]}")
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def _slice(
    call: Call, x: Array, starts: Any = None, ends: Any = None, axes: Array | None = None, steps: Array | None = None
) -> Array:
    if starts is None:  # before opset 10
        starts, ends = call["starts"], call["ends"]
    first, last = np.asarray(starts).reshape(-1).tolist(), np.asarray(ends).reshape(-1).tolist()
    chosen = _axes(call, axes)
    chosen = list(range(len(first))) if chosen is None else chosen
    stride = ints(steps) or [1] * len(first)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(normalize_axes(chosen, x.ndim), first, last, stride, strict=True):
        index[axis] = _clamped(start, end, step, x.shape[axis])
    return x[tuple(index)]


def _clamped(start: int, end: int, step: int, size: int) -> slice:
    low, high = (0, size) if step > 0 else (-1, size - 1)
    start = min(max(start + size if start < 0 else start, max(low, 0)), high)
    end = min(max(end + size if end < 0 else end, low), high)
    # A slice that runs down past the first element has no number for its end.
    return slice(0, 0) if start < 0 else slice(start, None if end < 0 else end, step)


def _expand(call: Call, x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(ints(shape) or ())))


def _tile(call: Call, x: Array, repeats: Array) -> Array:
    return np.tile(x, ints(repeats) or [])


def _pad(
    call: Call, x: Array, pads: Array | None = None, value: Array | None = None, axes: Array | None = None
) -> Result:
    widths = ints(pads) if pads is not None else list(call["pads"])
    chosen = normalize_axes(_axes(call, axes) or range(x.ndim), x.ndim)
    assert widths is not None
    before, after = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(chosen):
        before[axis], after[axis] = widths[place], widths[place + len(chosen)]
    crop = tuple(
        slice(max(0, -low), size - max(0, -high)) for low, high, size in zip(before, after, x.shape, strict=True)
    )
    grown = [(max(0, low), max(0, high)) for low, high in zip(before, after, strict=True)]
    cropped = x[crop]
    if call["mode"] != "constant":
        return np.pad(cropped, grown, mode=call["mode"])
    fill = call.get("value", 0) if value is None else value.reshape(-1)[0]
    return _pad_with(cropped, grown, fill)


def _pad_with(x: Array, widths: list[tuple[int, int]], fill: Any) -> Array:
    shape = [low + size + high for (low, high), size in zip(widths, x.shape, strict=True)]
    padded = np.full(shape, fill, x.dtype)
    padded[tuple(slice(low, low + size) for (low, _), size in zip(widths, x.shape, strict=True))] = x
    return padded


def _depth_to_space(call: Call, x: Array) -> Array:
    batch, channels, height, width = x.shape
    size = call["blocksize"]
    depth = channels // size**2
    if call["mode"] == "DCR":
        parts = x.reshape(batch, size, size, depth, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(batch, depth, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, depth, height * size, width * size)


def _space_to_depth(call: Call, x: Array) -> Array:
    batch, channels, height, width = x.shape
    size = call["blocksize"]
    parts = x.reshape(batch, channels, height // size, size, width // size, size)
    order = (0, 1, 3, 5, 2, 4) if call.get("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return parts.transpose(order).reshape(batch, channels * size**2, height // size, width // size)


def _shape(call: Call, x: Array) -> Array:
    return np.asarray(x.shape[slice(call.get("start", 0), call.get("end"))], np.int64)


def _trilu(call: Call, x: Array, k: Array | None = None) -> Array:
    diagonal = 0 if k is None else int(k)
    return np.triu(x, diagonal) if call["upper"] else np.tril(x, diagonal)


def _range(call: Call, start: Array, limit: Array, delta: Array) -> Array:
    wide = start.dtype if start.dtype.kind in "iu" else np.dtype(np.float64)
    first, last, step = (np.asarray(value).reshape(()).astype(wide) for value in (start, limit, delta))
    if wide.kind in "iu":
        count = len(range(int(first), int(last), int(step)))
    else:
        count = max(0, int(np.ceil((last - first) / step)))
    return np.asarray(first + np.arange(count).astype(wide) * step, start.dtype)


def _constant_of_shape(call: Call, shape: Array) -> Array:
    fill = call.get("value")
    if fill is None:
        return np.zeros(ints(shape) or [], call.element_type(1))
    return np.full(ints(shape) or [], fill.reshape(-1)[0], fill.dtype)


def _eye_like(call: Call, x: Array) -> Result:
    dtype = x.dtype if call.get("dtype") is None else call.element_type(call["dtype"])
    rows, columns = x.shape
    return np.eye(rows, columns, k=call["k"]).astype(dtype)


def _one_hot(call: Call, indices: Array, depth: Array, values: Array) -> Result:
    count = int(depth.reshape(-1)[0])
    axis = call["axis"] % (indices.ndim + 1)
    chosen = np.expand_dims(indices.astype(np.int64), axis)
    chosen = np.where(chosen < 0, chosen + count, chosen)
    places = np.arange(count).reshape([-1 if dim == axis else 1 for dim in range(indices.ndim + 1)])
    return np.where(chosen == places, values[1], values[0]).astype(values.dtype)


TABLE: dict[str, Kernel] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Flatten": _flatten,
    "NonZero": lambda call, x: np.asarray(np.nonzero(np.atleast_1d(x)), np.int64),
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda call, x: np.asarray(x.size, np.int64),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
