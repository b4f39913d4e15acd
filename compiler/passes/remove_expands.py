"""Expand(x, s) + y = x + y, where the broadcast of x and y already has the shape of the result."""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, dims, is_op, made_by

_BROADCASTING = (
    "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
    "Where", "Max", "Min", "Sum", "Mean", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
)  # fmt: skip

Dims = tuple[int | str | None, ...]


class RemoveExpands(LocalRewrite):
    """Looks at operators that broadcast by themselves."""

    def visit(self, node: ir.Node) -> None:
        result = dims(node.outputs[0]) if is_op(node, *_BROADCASTING) else None
        if result is None or None in result:
            return
        for index, value in enumerate(node.inputs):
            expand = made_by(value, "Expand")
            small = expand.inputs[0] if expand is not None else None
            if value is None or expand is None or small is None:
                continue
            others = [dims(other) for place, other in enumerate(node.inputs) if place != index]
            if _broadcast([dims(small), *others]) != result:
                self.decline(node, f"without the Expand of '{small.name}' its result could have another shape")
                continue
            node.replace_input_with(index, small)
            self.edit.modified = True
            self.edit.prune([value])


def _broadcast(shapes: list[Dims | None]) -> Dims | None:
    """The shape of the result, where it is certain."""
    result: Dims = ()
    for shape in shapes:
        if shape is None or None in shape:
            return None
        wide, narrow = (shape, result) if len(shape) >= len(result) else (result, shape)
        narrow = (1,) * (len(wide) - len(narrow)) + narrow
        if any(a != b and 1 not in (a, b) for a, b in zip(wide, narrow, strict=True)):
            return None
        result = tuple(b if a == 1 else a for a, b in zip(wide, narrow, strict=True))
    return result
