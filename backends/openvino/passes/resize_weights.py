"""The weights of a Resize along one axis, computed when the model runs: M[o, i] = the sum over places t that are i once
they are clipped to the axis of w((t - x(o)) s) / the sum of all these w.

x(o) is where a new element lies in the old axis, w is the filter, and s is how much wider it gets where the axis
shrinks and `antialias` is set. Everything is in floats: integers would have to be proven small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import Edit

_D = ir.DataType
_MARGIN = 2  # places beyond the reach of the filter, whose weight is 0


@dataclass(frozen=True)
class Change:
    """One axis that gets another size, as the sizes or scales in `told` say."""

    axis: int
    place: int  # in `told`
    old: int | str | None
    new: int | None
    told: ir.Value
    number: float | None  # what `told` says, where that is constant

    @property
    def by_size(self) -> bool:
        return self.told.dtype is not None and self.told.dtype.is_integer()

    @property
    def is_constant(self) -> bool:
        return self.number is not None


class Along:
    """Adds the nodes that compute the matrix of one axis before a Resize."""

    def __init__(self, edit: Edit, node: ir.Node, change: Change) -> None:
        self._edit, self._node = edit, node
        told = self._add("Gather", change.told, self._whole(change.place), dtype=change.told.dtype)
        shape = self._add("Shape", self._data, dtype=_D.INT64)
        self._old = self._float(self._add("Gather", shape, self._whole(change.axis), dtype=_D.INT64))
        self._new = self._float(told) if change.by_size else self._number(float(change.new or 0))
        self._scale = self._add("Div", self._new, self._old) if change.by_size else told

    def matrix(self) -> ir.Value:
        cubic = self._text("mode", "nearest") == "cubic"
        reach, one = self._number(2.0 if cubic else 1.0), self._number(1.0)
        shrink = self._add("Min", self._scale, one) if self._flag("antialias") else one
        beyond = self._add("Add", self._add("Ceil", self._add("Div", reach, shrink)), self._number(float(_MARGIN)))
        places = self._range(self._add("Neg", beyond), self._add("Add", self._old, beyond))
        apart = self._add("Sub", places, self._column(self._where()))
        distance = self._add("Abs", self._add("Mul", apart, shrink))
        weights = self._cubic(distance) if cubic else self._positive(self._add("Sub", one, distance))
        last = self._add("Sub", self._old, one)
        inside = self._add("Max", self._add("Min", places, last), self._number(0.0))
        if self._flag("exclude_outside"):
            weights = self._add("Mul", weights, self._float(self._add("Equal", places, inside, dtype=_D.BOOL)))
        total = self._add("ReduceSum", weights, self._axes(1), keepdims=1)
        held = self._add("Equal", self._column(inside), self._range(self._number(0.0), self._old), dtype=_D.BOOL)
        return self._add("MatMul", self._add("Div", weights, total), self._float(held))

    def _where(self) -> ir.Value:
        """Where each new element lies in the old axis."""
        mode = self._text("coordinate_transformation_mode", "half_pixel")
        places, one, half = self._range(self._number(0.0), self._new), self._number(1.0), self._number(0.5)
        if mode == "asymmetric":
            return self._add("Div", places, self._scale)
        if mode == "align_corners":
            last, steps = (self._add("Sub", size, one) for size in (self._old, self._new))
            return self._add("Div", self._add("Mul", places, last), self._add("Max", steps, one))
        centres = self._add("Sub", self._add("Div", self._add("Add", places, half), self._scale), half)
        if mode == "pytorch_half_pixel":
            several = self._add("Greater", self._new, one, dtype=_D.BOOL)
            return self._add("Mul", centres, self._float(several))
        if mode == "half_pixel_symmetric":
            kept = self._add("Div", self._new, self._add("Mul", self._scale, self._old))
            middle = self._add("Mul", self._old, half)
            return self._add("Add", centres, self._add("Mul", middle, self._add("Sub", one, kept)))
        return centres

    def _cubic(self, distance: ir.Value) -> ir.Value:
        """((a + 2) d - (a + 3)) d^2 + 1 up to 1, ((a d - 5 a) d + 8 a) d - 4 a up to 2, then 0."""
        a = self._node.attributes.get_float("cubic_coeff_a", -0.75)
        near = self._polynomial(distance, a + 2, -(a + 3), 0.0, 1.0)
        far = self._polynomial(distance, a, -5 * a, 8 * a, -4 * a)
        is_near, is_far = (self._add("LessOrEqual", distance, self._number(end), dtype=_D.BOOL) for end in (1.0, 2.0))
        return self._add("Where", is_near, near, self._add("Where", is_far, far, self._number(0.0)))

    def _polynomial(self, x: ir.Value, *factors: float) -> ir.Value:
        value = self._number(factors[0])
        for factor in factors[1:]:
            value = self._add("Add", self._add("Mul", value, x), self._number(factor))
        return value

    # -- nodes ----------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> ir.Value:
        data = self._node.inputs[0]
        assert data is not None
        return data

    def _add(self, operator: str, *inputs: ir.Value, dtype: ir.DataType | None = _D.FLOAT, **attrs: int) -> ir.Value:
        return self._edit.insert(self._node, operator, inputs, attrs, dtype=dtype)

    def _range(self, start: ir.Value, end: ir.Value) -> ir.Value:
        return self._add("Range", start, end, self._number(1.0))

    def _column(self, row: ir.Value) -> ir.Value:
        return self._add("Unsqueeze", row, self._axes(1))

    def _positive(self, value: ir.Value) -> ir.Value:
        return self._add("Max", value, self._number(0.0))

    def _float(self, value: ir.Value) -> ir.Value:
        return self._add("Cast", value, to=_D.FLOAT)

    def _number(self, number: float) -> ir.Value:
        return self._edit.constant(np.array(number, np.float32), self._data)

    def _whole(self, number: int) -> ir.Value:
        return self._edit.constant(np.array(number), self._data)

    def _axes(self, *axes: int) -> ir.Value:
        return self._edit.constant(np.array(axes), self._data)

    def _flag(self, name: str) -> bool:
        return bool(self._node.attributes.get_int(name, 0))

    def _text(self, name: str, usual: str) -> str:
        return str(self._node.attributes.get_string(name, usual))
