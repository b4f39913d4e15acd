"""Attention(Q, K, V, mask) = softmax(scale * Q K^T + mask) V, and 0 where the mask leaves a row no key.

OpenVINO compiles the spelled-out form into one kernel as well, and that one is right: its own attention operator
gives garbage once it has first run with a single key. What is not the common form, with a past or a cap on the scores,
is expanded through the body in the ONNX schema.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from backends.openvino.legality import LEGALITY
from backends.openvino.passes.open_rows import leaves_keys_everywhere
from compiler.passes.legalize import Legalize
from compiler.passes.rewriting import LocalRewrite, input_of, is_op, wanted

_FAULT = "OpenVINO's attention operator is wrong once it has first run with a single key"


class DecomposeAttention(LocalRewrite):
    """Leaves no Attention."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        spelled = super().call(model)
        refused = {**LEGALITY.refuses, "Attention": _FAULT}
        expanded = Legalize(dataclasses.replace(LEGALITY, refuses=refused), "openvino")(model)
        return ir.passes.PassResult(model, bool(spelled.modified or expanded.modified))

    def enter(self, graph: ir.Graph) -> None:
        self._masks: dict[ir.Value, _Mask] = {}  # layers that share a mask share what is made of it

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Attention"):
            return
        found = _common_form(node)
        if isinstance(found, str):
            self.decline(node, f"{found}; it is expanded through its schema")
        else:
            self._spell_out(node, found)

    def _spell_out(self, node: ir.Node, parts: _Parts) -> None:
        edit, kind = self.edit, parts.dtype
        node.resize_outputs(1)
        query, key, value = parts.query, parts.key, parts.value
        if parts.groups > 1:
            key, value = (self._repeated(node, one, parts.groups) for one in (key, value))
        if parts.scale != 1:
            query = edit.insert(node, "Mul", [query, self._number(parts.scale, query, kind)], dtype=kind)
        turned = edit.insert(node, "Transpose", [key], {"perm": [0, 1, 3, 2]}, dtype=kind)
        scores = edit.insert(node, "MatMul", [query, turned], dtype=kind)
        mask = self._mask(node, parts)
        if mask is not None:
            scores = edit.insert(node, "Add", [scores, mask.bias], dtype=kind)
        shares = edit.insert(node, "Softmax", [scores], {"axis": -1}, dtype=kind)
        if mask is None or mask.keeps is None:
            edit.become(node, "MatMul", [shares, value])
            return
        mixed = edit.insert(node, "MatMul", [shares, value], dtype=kind)
        edit.become(node, "Where", [mask.keeps, mixed, self._number(0, mixed, kind)])

    def _repeated(self, node: ir.Node, value: ir.Value, groups: int) -> ir.Value:
        """Each head of keys or values as often as heads of queries share it."""
        assert value.shape is not None
        heads, size = value.shape[1], value.shape[3]
        assert isinstance(heads, int)
        numbers = ([2], [1, 1, groups, 1, 1], [0, heads * groups, -1, size])
        axis, repeats, joined = (self.edit.constant(np.array(one), value) for one in numbers)
        apart = self.edit.insert(node, "Unsqueeze", [value, axis], dtype=value.dtype)
        wide = self.edit.insert(node, "Expand", [apart, repeats], dtype=value.dtype)
        return self.edit.insert(node, "Reshape", [wide, joined], dtype=value.dtype)

    def _mask(self, node: ir.Node, parts: _Parts) -> _Mask | None:
        given = parts.mask
        if not parts.causal:
            if given is not None and given not in self._masks:
                self._masks[given] = self._made(node, given, parts.dtype)
            return None if given is None else self._masks[given]
        causal = self._causal(node, parts)
        if given is None:
            return _Mask(self._as_bias(node, causal, parts.dtype), None)
        if given.dtype is ir.DataType.BOOL:
            both = self.edit.insert(node, "And", [given, causal], dtype=given.dtype)
        else:
            nothing = self._number(-math.inf, given, parts.dtype)
            both = self.edit.insert(node, "Where", [causal, given, nothing], dtype=given.dtype)
        return self._made(node, both, parts.dtype)

    def _made(self, node: ir.Node, mask: ir.Value, kind: ir.DataType) -> _Mask:
        """What is added to the scores, and which rows have a key. ReduceMax itself never gives -inf here."""
        bias, allowed = mask, mask
        if mask.dtype is ir.DataType.BOOL:
            bias = self._as_bias(node, mask, kind)
        if leaves_keys_everywhere(mask):
            return _Mask(bias, None)
        if mask.dtype is not ir.DataType.BOOL:
            nothing = self._number(-math.inf, mask, kind)
            allowed = self.edit.insert(node, "Greater", [mask, nothing], dtype=ir.DataType.BOOL)
        counted = self.edit.insert(node, "Cast", [allowed], {"to": ir.DataType.FLOAT}, dtype=ir.DataType.FLOAT)
        last = self.edit.constant(np.array([-1]), mask)
        some = self.edit.insert(node, "ReduceMax", [counted, last], {"keepdims": 1}, dtype=ir.DataType.FLOAT)
        return _Mask(bias, self.edit.insert(node, "Cast", [some], {"to": ir.DataType.BOOL}, dtype=ir.DataType.BOOL))

    def _as_bias(self, node: ir.Node, allowed: ir.Value, kind: ir.DataType) -> ir.Value:
        numbers = [self._number(number, allowed, kind) for number in (0, -math.inf)]
        return self.edit.insert(node, "Where", [allowed, *numbers], dtype=kind)

    def _causal(self, node: ir.Node, parts: _Parts) -> ir.Value:
        """Each query sees the keys up to its own place."""
        places = [self._places(node, value, axis) for value, axis in ((parts.query, 1), (parts.key, 0))]
        return self.edit.insert(node, "GreaterOrEqual", places, dtype=ir.DataType.BOOL)

    def _places(self, node: ir.Node, value: ir.Value, axis: int) -> ir.Value:
        whole = ir.DataType.INT64
        size = self.edit.insert(node, "Shape", [value], {"start": 2, "end": 3}, dtype=whole)
        count = self.edit.insert(node, "Squeeze", [size], dtype=whole)
        first, step = (self.edit.constant(np.array(number), value) for number in (0, 1))
        places = self.edit.insert(node, "Range", [first, count, step], dtype=whole)
        return self.edit.insert(node, "Unsqueeze", [places, self.edit.constant(np.array([axis]), value)], dtype=whole)

    def _number(self, number: float, like: ir.Value, kind: ir.DataType) -> ir.Value:
        return self.edit.constant(np.array(number, kind.numpy()), like)


@dataclass(frozen=True)
class _Mask:
    bias: ir.Value
    keeps: ir.Value | None  # the rows that have a key; None where all have


@dataclass(frozen=True)
class _Parts:
    query: ir.Value
    key: ir.Value
    value: ir.Value
    mask: ir.Value | None
    dtype: ir.DataType
    scale: float
    causal: bool
    groups: int  # how many heads of queries share one of keys


def _common_form(node: ir.Node) -> _Parts | str:
    """The parts of an Attention, or why it is not of the common form."""
    if any(extra is not None for extra in node.inputs[4:]):
        return "it has a past, or counts of keys"
    if any(output.name and wanted(output) for output in node.outputs[1:]):
        return "more than its first output is used"
    if node.attributes.get_float("softcap", 0.0):
        return "it caps the scores"
    query, key, value = (input_of(node, place) for place in range(3))
    if query is None or key is None or value is None or query.dtype is None:
        return "its types are not known"
    if query.shape is None or key.shape is None or value.shape is None:
        return "its shapes are not known"
    if {len(query.shape), len(key.shape), len(value.shape)} != {4}:
        return "its heads are not an axis"
    heads, shared, size, width = query.shape[1], key.shape[1], query.shape[3], value.shape[3]
    if not isinstance(size, int) or not isinstance(width, int):
        return "the size of a head is not known"
    if shared != value.shape[1] or (heads != shared and not (isinstance(heads, int) and isinstance(shared, int))):
        return "the number of heads is not known"
    groups = heads // shared if isinstance(heads, int) and isinstance(shared, int) else 1
    mask = input_of(node, 3)
    if mask is not None and (mask.shape is None or len(mask.shape) < 2 or mask.shape[-1] != key.shape[2]):
        return "its mask is not known to have a column for each key"
    scale = node.attributes.get_float("scale", 1 / math.sqrt(size))
    causal = bool(node.attributes.get_int("is_causal", 0))
    return _Parts(query, key, value, mask, query.dtype, scale, causal, groups)
