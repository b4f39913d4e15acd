"""DFT(x) = C x + i S x with C = cos(a), S = sin(a), a[k, t] = -2 pi k t / n; [inverse] with +2 pi and over n.

[onesided] are the rows k <= n/2 only. Its inverse counts the columns in between twice, for their conjugates, and only
the real part is left.

OpenVINO adds up rounded angles unless n is a power of two: at 1000 points its error is a thousand times PyTorch's. And
its frontend gives the result of a one-sided transform another shape. The matrices are computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import LocalRewrite, input_of, is_op, small_ints

_LARGEST = 2048  # points; two matrices of that many rows and columns take 32 MiB


@dataclass(frozen=True)
class _Transform:
    count: int  # points of the signal
    given: int  # rows of the data along the axis that the matrices meet
    inverse: bool
    onesided: bool

    def matrices(self) -> tuple[Array, Array]:
        half = self.count // 2 + 1
        rows = np.arange(half if self.onesided and not self.inverse else self.count)
        columns = np.arange(self.given)
        turns = np.outer(rows, columns) % self.count / self.count  # the same angle, and a small number
        angles = (2 if self.inverse else -2) * np.pi * turns
        weights = np.full(self.given, 1 / self.count if self.inverse else 1.0)
        if self.inverse and self.onesided:
            weights[1 : (self.count + 1) // 2] *= 2
        return np.cos(angles) * weights, np.sin(angles) * weights


class TransformMatrices(LocalRewrite):
    """For transforms of a known length along a known axis that OpenVINO does not compute as well."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "DFT"):
            return
        data, length, axis = (input_of(node, place) for place in range(3))
        shape, dtype = None if data is None else data.shape, None if data is None else data.dtype
        axes = [-2] if axis is None else small_ints(axis)
        if data is None or shape is None or dtype is None or axes is None:
            self.decline(node, "its axis is not known")
            return
        place = axes[0] % len(shape)
        size, parts, counts = shape[place], shape[-1], [] if length is None else small_ints(length)
        if not isinstance(size, int) or not isinstance(parts, int) or counts is None:
            self.decline(node, "its length is not known")
            return
        inverse, onesided = (bool(node.attributes.get_int(name, 0)) for name in ("inverse", "onesided"))
        count = counts[0] if counts else 2 * (size - 1) if inverse and onesided else size
        if count > _LARGEST or (not onesided and count & (count - 1) == 0):
            self.decline(node, f"OpenVINO's own is as good at {count} points, or the matrices are too large")
            return
        needed = count // 2 + 1 if inverse and onesided else count
        self._multiply(node, data, place, parts, _Transform(count, min(size, needed), inverse, onesided))

    def _multiply(self, node: ir.Node, data: ir.Value, axis: int, parts: int, form: _Transform) -> None:
        dtype = data.dtype
        assert dtype is not None and data.shape is not None
        order = [place for place in range(len(data.shape) - 1) if place != axis] + [axis, len(data.shape) - 1]

        def add(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
            return self.edit.insert(node, operator, inputs, attributes, dtype=dtype)

        def whole(*numbers: int) -> ir.Value:
            return self.edit.constant(np.array(numbers), data)

        rows = add("Slice", data, whole(0), whole(form.given), whole(axis))
        turned = add("Transpose", rows, perm=order)
        cosine, sine = (
            add("MatMul", self.edit.constant(matrix.astype(dtype.numpy()), data), turned) for matrix in form.matrices()
        )
        if parts == 1:
            found = cosine if form.inverse and form.onesided else add("Concat", cosine, sine, axis=-1)
        else:
            signs = self.edit.constant(np.array([-1, 1], dtype.numpy()), data)
            crossed = add("Mul", add("Gather", sine, whole(1, 0), axis=-1), signs)
            found = add("Add", cosine, crossed)
            if form.inverse and form.onesided:
                found = add("Slice", found, whole(0), whole(1), whole(-1))
        self.edit.become(node, "Transpose", [found], {"perm": [order.index(place) for place in range(len(order))]})
