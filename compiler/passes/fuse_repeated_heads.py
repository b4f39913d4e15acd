"""Attention(q, repeat(k), repeat(v)) = Attention(q, k, v), where every head of k and v is repeated n times in a row.

That is grouped-query attention: the operator itself lets neighbouring heads of queries share keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import LocalRewrite, input_of, is_op, made_by
from compiler.passes.sizes import Size

_HEADS = 1  # the axis, and after it the one of the repetitions
_INPUTS_WITH_STATE = 4  # from here on there is a cache, whose heads would have to be unrepeated, too


class FuseRepeatedHeads(LocalRewrite):
    """Keys and values must be repeated as often."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Attention"):
            return
        key, value = (_unrepeated(node.inputs[place]) for place in (1, 2))
        if key is None and value is None:
            return
        if any(node.inputs[_INPUTS_WITH_STATE:]) or len(node.outputs) > 1:
            self.decline(node, "its cache is of repeated heads")
        elif key is None or value is None or key.count != value.count:
            self.decline(node, "its keys and its values are not repeated as often")
        else:
            attributes = {name: attr.value for name, attr in node.attributes.items()}
            inputs = [node.inputs[0], key.value, value.value]
            if input_of(node, 3) is not None:
                inputs.append(node.inputs[3])
            self.edit.become(node, "Attention", inputs, attributes, origins=(*key.nodes, *value.nodes))


@dataclass(frozen=True)
class _Repeated:
    value: ir.Value
    count: int
    nodes: tuple[ir.Node, ...]


def _unrepeated(value: ir.Value | None) -> _Repeated | None:
    """[b, h, s, d] seen as [b, h, 1, s, d], stretched to [b, h, n, s, d], and seen as [b, h * n, s, d]."""
    joined = made_by(value, "Reshape")
    stretched = made_by(joined.inputs[0], "Expand", "Tile") if joined is not None else None
    spread = made_by(stretched.inputs[0], "Unsqueeze", "Reshape") if stretched is not None else None
    source = spread.inputs[0] if spread is not None else None
    if joined is None or stretched is None or spread is None or source is None:
        return None
    before, apart, after, whole = map(sizes_of, (source, spread.outputs[0], stretched.outputs[0], value))
    if before is None or apart is None or after is None or whole is None or len(before) != 4 or len(after) != 5:
        return None
    heads, count = before[_HEADS], after[_HEADS + 1]
    number = count.number if count is not None else None
    if heads is None or count is None or number is None or None in (*before, *after):
        return None
    parts = (before[: _HEADS + 1], before[_HEADS + 1 :])
    expected = (
        apart == (*parts[0], Size.of(1), *parts[1])
        and after == (*parts[0], count, *parts[1])
        and whole == (before[0], heads * count, *parts[1])
    )
    return _Repeated(source, number, (spread, stretched, joined)) if expected else None
