"""Resize(x) = M1 ... Mk x, with a matrix of weights for each axis whose size changes.

OpenVINO weighs otherwise than ONNX and PyTorch where a shrinking axis is smoothed (`antialias`) and where places beyond
the edge do not count (`exclude_outside`), and its frontend does not know `half_pixel_symmetric`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from backends.openvino.passes.resize_weights import Along, Change
from compiler.contracts import Array
from compiler.passes.rewriting import LocalRewrite, constant, dims, input_of, is_op

_COMPUTED = ir.DataType.FLOAT  # narrower floats are widened; in the standard, too, they are rounded once at the end


def is_other(node: ir.Node) -> bool:
    """Whether OpenVINO computes something else, or does not take it."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if node.attributes.get_string("mode", "nearest") not in ("linear", "cubic") or mode == "tf_crop_and_resize":
        return False
    flags = ("antialias", "exclude_outside")
    return mode == "half_pixel_symmetric" or any(node.attributes.get_int(name, 0) for name in flags)


class ResizeMatrices(LocalRewrite):
    """Matrices are constants where sizes are, and else computed when the model runs."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Resize") or not is_other(node):
            return
        data = node.inputs[0]
        if data is None or data.shape is None or data.dtype is None or not data.dtype.is_floating_point():
            self.decline(node, "it is not known to resize floats")
            return
        changes = _changes(node)
        if isinstance(changes, str):
            self.decline(node, changes)
            return
        result, kind = data, data.dtype
        if kind != _COMPUTED:
            result = self.edit.insert(node, "Cast", [data], {"to": _COMPUTED}, dtype=_COMPUTED)
        for change in changes:
            result = self._along(node, result, len(data.shape), change)
        self.edit.become(node, "Cast", [result], {"to": kind})

    def _along(self, node: ir.Node, data: ir.Value, rank: int, change: Change) -> ir.Value:
        def add(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
            return self.edit.insert(node, operator, inputs, attributes, dtype=_COMPUTED)

        if isinstance(change.old, int) and change.is_constant:
            matrix = self.edit.constant(_matrix(node, change).astype(_COMPUTED.numpy()), data)
        else:
            matrix = Along(self.edit, node, change).matrix()
        if change.axis == rank - 2:
            return add("MatMul", matrix, data)
        order = [axis for axis in range(rank) if axis != change.axis] + [change.axis]
        turned = add("Transpose", data, perm=order)
        mixed = add("MatMul", turned, add("Transpose", matrix, perm=[1, 0]))
        return add("Transpose", mixed, perm=[order.index(axis) for axis in range(rank)])


def _changes(node: ir.Node) -> list[Change] | str:
    """Each axis that gets another size, or why that is not known."""
    old, new = dims(node.inputs[0]), dims(node.outputs[0])
    assert old is not None
    axes = [axis % len(old) for axis in node.attributes.get_ints("axes", range(len(old)))]
    scales, sizes = input_of(node, 2), input_of(node, 3)
    told = sizes if sizes is not None else scales
    if told is None:
        return "it tells neither sizes nor scales"
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "it keeps an aspect ratio"
    numbers = constant(told)
    changes = []
    for place, axis in enumerate(axes):
        number = None if numbers is None else numbers[place].item()
        size = number if told is sizes else None if new is None else new[axis]
        same = number == 1 if told is scales else number is not None and number == old[axis]
        if same or (size is not None and size == old[axis] and number is None):
            continue
        if told is scales and not isinstance(size, int):
            return "the size of its result is not known"
        changes.append(Change(axis, place, old[axis], size if isinstance(size, int) else None, told, number))
    return sorted(changes, key=_growth)


def _growth(change: Change) -> float:
    """What shrinks most comes first, so that the others have less to do."""
    return change.new / change.old if isinstance(change.old, int) and change.new is not None else 1.0


def _matrix(node: ir.Node, change: Change) -> Array:
    """The weights: what the operator makes of the unit matrix, in float64."""
    from compiler.ir.evaluate import Evaluator

    assert isinstance(change.old, int) and change.told.dtype is not None
    kept = {name: node.attributes[name] for name in node.attributes if name != "keep_aspect_ratio_policy"}
    unit = ir.Value(name="unit", shape=ir.Shape([change.old] * 2), type=ir.TensorType(ir.DataType.DOUBLE))
    number = np.array([change.number], change.told.dtype.numpy())
    told = ir.Value(name="told", const_value=ir.tensor(number, name="told"))
    inputs: Sequence[ir.Value | None] = [unit, None, *([None, told] if change.by_size else [told])]
    resize = ir.node("Resize", inputs, {**kept, "axes": [0]})
    resize.outputs[0].name = "matrix"
    graph = ir.Graph([unit], resize.outputs, nodes=[resize], initializers=[told], opset_imports=_OPSETS, name="axis")
    return Evaluator(ir.Model(graph, ir_version=10), precise=True)({"unit": np.eye(change.old)})["matrix"]


_OPSETS = {"": 24}
