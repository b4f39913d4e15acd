"""Fourier transforms, as products with a matrix of sines and cosines.

With real and imaginary parts side by side, X = x W, where W[(t, part), (k, part)] holds the rotation by -2π t k / n.
What a signal lacks of n elements, or has beyond them, are rows that W does not have, or zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te

from backends.tvm.emit.extents import Extent, expression
from backends.tvm.emit.linear import matmul
from backends.tvm.emit.op import Emit, Op, Result
from compiler.contracts import Array

_LARGEST = 1 << 26  # bytes of a matrix


def _dft(op: Op) -> Result:
    shape, inverse, half = op.shape(), bool(op.attr("inverse", 0)), bool(op.attr("onesided", 0))
    axis = op.axis("axis", 1) if op.version < 20 else _axis(op) % len(shape)
    given, parts = shape[axis], shape[-1]
    length = op.constant(1) if op.has(1) else None
    if not isinstance(given, int) or (op.has(1) and length is None):
        op.refuse("how long its signal is depends on a dynamic dim or on data")
    count = int(length.item()) if length is not None else 2 * (given - 1) if inverse and half else given
    matrix = _inverse_half(given, count) if inverse and half else _rotations(given, count, parts, inverse, half)
    return _transformed(op, op.x(), axis, matrix, 1 if inverse and half else 2)


def _axis(op: Op) -> int:
    if not op.has(2):
        return -2
    axis = op.constant(2)
    if axis is None:
        op.refuse("its axis depends on data")
    return int(axis.item())


def _rotations(given: int, count: int, parts: int, inverse: bool, half: bool) -> Array:
    """[given, parts in, results, parts out]; zero beyond `count` elements."""
    places, results = np.arange(given), np.arange(count // 2 + 1 if half else count)
    # The product is reduced first: of a large angle sine and cosine would lose digits.
    angles = (2 if inverse else -2) * np.pi * ((places[:, None] * results) % count) / count
    turned = np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])[:parts]
    turned[:, :, count:] = 0
    return np.asarray(turned.transpose(2, 0, 3, 1) / (count if inverse else 1))


def _inverse_half(given: int, count: int) -> Array:
    """From the half of a spectrum whose other half is its mirror image to a real signal."""
    places, results = np.arange(given), np.arange(count)
    angles = 2 * np.pi * ((places[:, None] * results) % count) / count
    twice = np.where((places == 0) | (2 * places == count), 1, 2) * (places <= count // 2)
    turned = np.array([np.cos(angles), -np.sin(angles)]) * twice[:, None] / count
    return np.asarray(turned.transpose(1, 0, 2)[..., None])


def _transformed(op: Op, x: relax.Expr, axis: int, matrix: Array, parts: int) -> relax.Expr:
    given, given_parts, count, _ = matrix.shape
    if matrix.size * 4 > _LARGEST:
        op.refuse(f"a signal of {given} elements is too long for a matrix")
    dtype, rank = str(x.ty.dtype), len(x.ty.shape.values)
    last = rank - 2
    order = [place for place in range(last + 1) if place != axis] + [axis, rank - 1]
    moved = x if axis == last else op.emit(relax.op.permute_dims(x, order))
    lead: list[Extent] = [op.settled(extent) for extent in moved.ty.shape.values[:last]]
    rows = op.reshape(moved, [*lead, given * given_parts])
    weight = op.const(matrix.reshape(given * given_parts, count * parts), dtype)
    made = op.reshape(matmul(op, rows, weight), [*lead, count, parts])
    back = [order.index(place) for place in range(rank)]
    return made if axis == last else op.emit(relax.op.permute_dims(made, back))


def _stft(op: Op) -> Result:
    """Frames of the signal, each times the window, and the transform of each."""
    step, half = op.constant(1), bool(op.attr("onesided", 1))
    told = op.constant(3) if op.has(3) else None
    size: Any = int(told.item()) if told is not None else op.shape(2)[0] if op.has(2) else None
    if step is None or not isinstance(size, int):
        op.refuse("its frames are only known at run time")
    stride = int(step.item())
    batch, length, *channels = op.shape()
    parts = channels[0] if channels else 1
    frames = op.settled((length - size) // stride + 1)
    window = [op.x(2)] if op.has(2) else []

    def cut(signal: te.Tensor, count: Any, *shape_of_frame: te.Tensor) -> te.Tensor:
        def element(b: Any, f: Any, t: Any, part: Any) -> Any:
            value = signal(b, f * stride + t, part)
            return value * shape_of_frame[0](t) if shape_of_frame else value

        return te.compute((signal.shape[0], count, size, parts), element, name="T_frames")

    signal = op.reshape(op.x(), [batch, length, parts])
    rows = op.te(cut, signal, expression(frames), *window, name="frames")
    return _transformed(op, rows, 2, _rotations(size, size, parts, False, half), 2)


EMIT: dict[str, Emit] = {"DFT": _dft, "STFT": _stft}
