"""Attention(q, Concat(pk, k), Concat(pv, v)) = Attention(q, k, v, past: pk, pv), whose further outputs are the Concats.

A cache is what comes in as an input of the model and goes out, longer, as one of its outputs. Keys of other origin that
stand before some, such as those of a text before an image's, are no past, and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import LocalRewrite, input_of, is_op, made_by, rank

_LENGTH = 2  # the axis along which keys and values are appended


class FuseKeyValueCache(LocalRewrite):
    """Keys and values must have a past of one length."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Attention"):
            return
        key, value = (_joined(input_of(node, place)) for place in (1, 2))
        if key is None or value is None:
            return
        objection = _objection(node, key, value)
        if objection is not None:
            self.decline(node, objection)
            return
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        inputs = [node.inputs[0], key.new, value.new, input_of(node, 3), key.past, value.past]
        self.edit.become(node, "Attention", inputs, attributes, origins=(key.node, value.node))
        node.resize_outputs(3)
        for present, joined in zip(node.outputs[1:], (key, value), strict=True):
            self._hand_over(joined.node, present)

    def _hand_over(self, joint: ir.Node, present: ir.Value) -> None:
        """The node's own output takes the place and the name of what the Concat gave."""
        old = joint.outputs[0]
        present.type, present.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, present, replace_graph_outputs=True)
        present.name, old.name = old.name, self.edit.fresh(f"{old.name}_joined")
        self.edit.prune([old])


@dataclass(frozen=True)
class _Joined:
    past: ir.Value
    new: ir.Value
    node: ir.Node


def _joined(value: ir.Value | None) -> _Joined | None:
    node = made_by(value, "Concat")
    if value is None or node is None or len(node.inputs) != 2 or not value.is_graph_output() or rank(value) != 4:
        return None
    past, new = node.inputs
    if past is None or new is None or not past.is_graph_input() or node.attributes.get_int("axis", 0) not in (2, -2):
        return None
    return _Joined(past, new, node)


def _objection(node: ir.Node, key: _Joined, value: _Joined) -> str | None:
    if rank(node.inputs[0]) != 4:
        return "its queries are not known to stand in heads"
    if node.attributes.get_int("is_causal", 0):
        return "it is causal from its first key on; with a past it would be from the first new one"
    if any(node.inputs[4:]) or any(output.name for output in node.outputs[1:]):
        return "it has a cache, or gives its scores, already"
    past = [(sizes_of(side.past) or (None,) * 4)[_LENGTH] for side in (key, value)]
    if past[0] is None or past[0] != past[1]:
        return "its keys and its values are not known to have a past of one length"
    for side in (key, value):
        if len(side.node.outputs[0].uses()) > 1:
            return f"'{side.node.outputs[0].name}' has other users"
    return None
