"""Cast(Cast(x, wider), t) = Cast(x, t), where the wider type holds every value of x exactly.

A CastLike becomes a Cast first: onnxscript's folder does that, too, and forgets whether it saturates.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op, made_by

_D = ir.DataType
_SIGNED = [_D.INT8, _D.INT16, _D.INT32, _D.INT64]
_UNSIGNED = [_D.UINT8, _D.UINT16, _D.UINT32, _D.UINT64]


class CollapseCasts(LocalRewrite):
    """The second of two takes what the first one took."""

    def visit(self, node: ir.Node) -> None:
        if is_op(node, "CastLike"):
            self._name_the_type(node)
        if not is_op(node, "Cast"):
            return
        first = made_by(node.inputs[0], "Cast")
        source = first.inputs[0] if first is not None else None
        if first is None or source is None or source.dtype is None:
            return
        middle = _D(first.attributes["to"].as_int())
        if not holds(middle, source.dtype):
            self.decline(node, f"the cast to {middle.name.lower()} before it rounds or cuts")
            return
        to = node.attributes["to"].as_int()
        if to == source.dtype:
            self.edit.bypass(node, source)
        else:
            self.edit.become(node, "Cast", [source], dict(node.attributes), origins=[first])

    def _name_the_type(self, node: ir.Node) -> None:
        like = node.inputs[1]
        if like is not None and like.dtype is not None:
            self.edit.become(node, "Cast", [node.inputs[0]], {**node.attributes, "to": int(like.dtype)})


def holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether every value of one type is a value of the other."""
    return wide == narrow or wide in _WIDER.get(narrow, ())


def _wider() -> dict[ir.DataType, set[ir.DataType]]:
    exact = {8: [_D.FLOAT16, _D.BFLOAT16, _D.FLOAT, _D.DOUBLE], 16: [_D.FLOAT, _D.DOUBLE], 32: [_D.DOUBLE], 64: []}
    table: dict[ir.DataType, set[ir.DataType]] = {
        _D.BOOL: {*_SIGNED, *_UNSIGNED, *exact[8]},
        _D.FLOAT16: {_D.FLOAT, _D.DOUBLE},
        _D.BFLOAT16: {_D.FLOAT, _D.DOUBLE},
        _D.FLOAT: {_D.DOUBLE},
    }
    for place, bits in enumerate((8, 16, 32, 64)):
        table[_SIGNED[place]] = {*_SIGNED[place + 1 :], *exact[bits]}
        table[_UNSIGNED[place]] = {*_UNSIGNED[place + 1 :], *_SIGNED[place + 1 :], *exact[bits]}
    return table


_WIDER = _wider()
