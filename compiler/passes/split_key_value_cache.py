"""Attention(q, k, v, past: pk, pv) = Attention(q, Concat(pk, k), Concat(pv, v)), whose Concats are its further outputs.

For targets that know an Attention without a past only, and would have to take it apart altogether.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op, rank

_PAST = 4  # the input that is the past of the keys; after it comes that of the values


class SplitKeyValueCache(LocalRewrite):
    """With heads as an axis."""

    def visit(self, node: ir.Node) -> None:
        pasts = [input_of(node, place) for place in (_PAST, _PAST + 1)]
        if not is_op(node, "Attention") or None in pasts:
            return
        if rank(node.inputs[0]) != 4:
            self.decline(node, "its heads are not an axis")
        elif node.attributes.get_int("is_causal", 0):
            self.decline(node, "it is causal, and its queries are counted from the end of the past on")
        elif any(value.name for value in node.outputs[3:]) or any(node.inputs[_PAST + 2 :]):
            self.decline(node, "it gives its scores, or is told how many keys count")
        else:
            for place, past in enumerate(pasts, start=1):
                assert past is not None
                self._join(node, place, past)
            node.resize_outputs(1)
            node.resize_inputs(4 if input_of(node, 3) is not None else 3)
            self.edit.modified = True

    def _join(self, node: ir.Node, place: int, past: ir.Value) -> None:
        """Keys or values with their past, which are also what the node gave at this place."""
        joined = self.edit.insert(node, "Concat", [past, node.inputs[place]], {"axis": 2}, dtype=past.dtype)
        node.replace_input_with(place, joined)
        present = node.outputs[place] if place < len(node.outputs) else None
        if present is None or not present.name:
            return
        joined.shape = present.shape
        ir.convenience.replace_all_uses_with(present, joined, replace_graph_outputs=True)
        joined.name, present.name = present.name, joined.name
