"""move(x) of int8 and uint8 = narrow(move(wide(x))): a float32 holds every one of them.

TensorRT takes uint8 at inputs and outputs only, and converts it from and to floats; int8 is a quantized number to it.
What it makes of a number that does not fit into 8 bits is not defined. So bytes may come in, be moved and compared and
go out, and a number becomes one where it certainly fits. All else is refused by name, quantization with int8 aside.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.errors import CompileError
from compiler.ir.provenance import describe
from compiler.ir.ranges import Ranges, type_range
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_op

_D = ir.DataType
_SMALL = frozenset({_D.INT8, _D.UINT8})
_MOVING = frozenset({
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Max", "Min",
    "Pad", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
_COMPARING = frozenset({"ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})


class SmallIntegers(LocalRewrite):
    """Leaves 8 bits at inputs, outputs and between QuantizeLinear and DequantizeLinear."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._ranges: Ranges | None = None
        self._model = model
        result = super().call(model)
        _refuse_others(model)
        return result

    def enter(self, graph: ir.Graph) -> None:
        self._wide: dict[ir.Value, ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        if is_op(node, *_MOVING, *_COMPARING):
            self._widen_inputs(node)
            for value in node.outputs:
                if value.dtype in _SMALL:
                    self._narrow_again(node, value)
        elif is_op(node, "Cast"):
            source, target = node.inputs[0], _D(node.attributes["to"].as_int())
            if source is None or source.dtype is target:
                return
            if target in _SMALL:
                self._become_small(node, source)
            elif source.dtype in _SMALL:
                stays = target is _D.FLOAT and source not in self._wide and constant(source) is None
                if not stays:
                    self._widen_inputs(node)

    def _become_small(self, node: ir.Node, source: ir.Value) -> None:
        """By way of a whole number in float32, which is also what others that take the result go on with."""
        self._hold_range(node, source)
        result = node.outputs[0]
        if source.dtype is _D.FLOAT and not result.uses():
            return
        if source.dtype is not None and source.dtype.is_floating_point():
            source = self.edit.insert(node, "Cast", [source], {"to": _D.INT32}, dtype=_D.INT32, shape=source.shape)
        whole = self._to_float(node, source)
        node.replace_input_with(0, whole)
        self._wide[result] = whole

    def _hold_range(self, node: ir.Node, source: ir.Value) -> None:
        """Of the graph as it was: what this pass makes of a value has the same range."""
        result = node.outputs[0]
        self._ranges = self._ranges or Ranges(self._model, {})
        limits, found = type_range(_D(node.attributes["to"].as_int())), self._ranges.of(source)
        if not found.within(limits.least, limits.most):
            raise _refused(node, result, f"what becomes one may be {found}")

    def _widen_inputs(self, node: ir.Node) -> None:
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype in _SMALL:
                if value not in self._wide:
                    self._wide[value] = self._to_float(node, value)
                node.replace_input_with(place, self._wide[value])
                self.edit.modified = True
                self.edit.prune([value])

    def _to_float(self, node: ir.Node, value: ir.Value) -> ir.Value:
        held = constant(value)
        if held is not None:  # TensorRT has no constant of int8 but before a DequantizeLinear
            return self.edit.constant(held.astype(np.float32), value)
        return self.edit.insert(node, "Cast", [value], {"to": _D.FLOAT}, dtype=_D.FLOAT, shape=value.shape)

    def _narrow_again(self, node: ir.Node, value: ir.Value) -> None:
        """The node's own result in float32, and behind it the value that everyone knows."""
        narrow = self.edit.follow(node, value, "Cast", {"to": value.dtype}, "wide")
        value.type = ir.TensorType(_D.FLOAT)
        self._wide[narrow] = value


def _refuse_others(model: ir.Model) -> None:
    """Every node that takes or gives 8 bits and is none of those that may."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.dtype in _SMALL]
        if values and not is_op(node, "Cast") and not _is_quantization(node):
            raise _refused(node, values[0], f"{node.op_type} computes with it")


def _is_quantization(node: ir.Node) -> bool:
    """With int8 and a zero point of 0, which is what TensorRT has kernels for."""
    if not is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return False
    zero = input_of(node, 2)
    held = None if zero is None else constant(zero)
    small = zero or (node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0])
    return small is not None and small.dtype is _D.INT8 and (zero is None or (held is not None and not held.any()))


def _refused(node: ir.Node, value: ir.Value, why: str) -> CompileError:
    assert value.dtype is not None
    kind = value.dtype.name.lower()
    return CompileError(
        "unsupported-op",
        "TensorRT cannot build this model",
        where=describe(node),
        why=f"{kind}: {why}, and TensorRT defines {kind} for values that are moved only",
        hint=f"compute in int32 or float32 and keep {kind} to inputs and outputs, or another --target",
    )
