"""Transpose(Transpose(x, p), q) = Transpose(x, p[q]), and x where that moves nothing."""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op, made_by, rank


class CollapseTransposes(LocalRewrite):
    """The second of two does the work of both. The first stays for its other users."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Transpose"):
            return
        first = made_by(node.inputs[0], "Transpose")
        source = first.inputs[0] if first is not None else None
        if first is None or source is None:
            return
        inner, outer = permutation(first), permutation(node)
        if inner is None or outer is None:
            return
        both = [inner[axis] for axis in outer]
        if both == sorted(both):
            self.edit.bypass(node, source)
        else:
            self.edit.become(node, "Transpose", [source], {"perm": both}, origins=[first])


def permutation(node: ir.Node) -> list[int] | None:
    """The order of the axes; without the attribute it is the reverse."""
    given = node.attributes.get_ints("perm", None)
    if given is not None:
        return list(given)
    count = rank(node.inputs[0])
    return None if count is None else list(reversed(range(count)))
