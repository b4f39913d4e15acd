"""The dims of each value, in the names of the model's inputs, from those of the values that it is made of.

onnx's inference gives a dim that it cannot work out a new name of its own, above all behind a Reshape whose target is
computed. Shape arithmetic is followed here, and a product of named dims is divided by one, so that two values are
known to be of one size where they are. Graphs of the TorchScript exporter need it for almost every layer.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import INVENTED, LocalRewrite, is_open
from compiler.passes.shape_contents import Contents
from compiler.passes.size_rules import Known, Sizes, sizes_after
from compiler.passes.sizes import Size

# In a model's `meta`: the largest value of each named dim.
LARGEST = "plumbline.largest"


class NameSizes(LocalRewrite):
    """Replaces unknown dims and invented names; a number or a name that was given stays."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._known = Known(Contents(), model.meta.get(LARGEST, {}))
        return super().call(model)

    def enter(self, graph: ir.Graph) -> None:
        """What was folded may still be called what it was when it was computed."""
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and value.shape is not None and value.shape != tensor.shape:
                value.shape = ir.Shape(tensor.shape.numpy())
                self.edit.modified = True

    def visit(self, node: ir.Node) -> None:
        result = node.outputs[0] if node.outputs else None
        if result is not None and is_open(result) and not result.is_graph_output():
            found = sizes_after(node, self._known)
            self.edit.modified |= found is not None and _name(result, found)
        self._known.contents.learn(node)


def _name(value: ir.Value, found: Sizes) -> bool:
    old = sizes_of(value)
    if old is not None and len(old) != len(found):
        return False
    new = found if old is None else tuple(map(_better, old, found))
    if new == old:
        return False
    value.shape = ir.Shape([None if size is None else _dim(size) for size in new])
    return True


def _better(old: Size | None, new: Size | None) -> Size | None:
    if old is None or (new is not None and _is_invented(old)):
        return new
    return old


def _is_invented(size: Size) -> bool:
    return any(name.startswith(INVENTED) for name in size.names)


def _dim(size: Size) -> int | str:
    return size.number if size.number is not None else str(size)
