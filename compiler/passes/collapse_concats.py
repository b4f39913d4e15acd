"""Concat(Concat(a, b), c) = Concat(a, b, c), and Concat of all that one Split made, in order, is what was split."""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op, made_by, rank


class CollapseConcats(LocalRewrite):
    """An inner Concat with other users stays."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Concat"):
            return
        whole = _unsplit(node)
        if whole is not None:
            self.edit.bypass(node, whole)
            return
        parts: list[ir.Value | None] = []
        inner = []
        for value in node.inputs:
            part = made_by(value, "Concat")
            single = value is not None and len(value.uses()) == 1 and not value.is_graph_output()
            if part is not None and single and _axis(part) == _axis(node) and part.graph is node.graph:
                parts.extend(part.inputs)
                inner.append(part)
            else:
                parts.append(value)
        if inner:
            self.edit.become(node, "Concat", parts, dict(node.attributes), origins=inner)


def _axis(node: ir.Node) -> int | None:
    axis = node.attributes.get_int("axis", 1)
    known = rank(node.outputs[0]) or rank(node.inputs[0])
    return axis % known if known else None if axis < 0 else axis


def _unsplit(node: ir.Node) -> ir.Value | None:
    split = made_by(node.inputs[0], "Split")
    if split is None or list(node.inputs) != list(split.outputs):
        return None
    axis = split.attributes.get_int("axis", 0)
    known = rank(split.inputs[0])
    same = known is not None and axis % known == _axis(node)
    return split.inputs[0] if same else None
