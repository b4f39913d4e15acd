"""Shape arithmetic, done with the names of the dims: Reshape(x, [Shape(x)[0], 12, 64]) = Reshape(x, [0, 12, 64]).

A list of sizes that are all known becomes a constant, one that was computed before is used again, and a Reshape whose
target keeps dims, names numbers and leaves one dim open at most takes a constant. Which names mean which sizes comes
from the inferred shapes.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

from compiler.passes.reshaping import closed, constant_target, names_of_inputs, sizes_of
from compiler.passes.rewriting import LocalRewrite, input_of, is_constant, is_op, small_ints
from compiler.passes.shape_contents import Content, Contents
from compiler.passes.sizes import Size


class FoldShapes(LocalRewrite):
    """Leaves alone what a size that only the data decides goes into."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._contents = Contents()
        self._never_zero = names_of_inputs(model)
        return super().call(model)

    def enter(self, graph: ir.Graph) -> None:
        self._first: dict[Hashable, ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        content = self._contents.learn(node)
        if content is not None and not self._result_is_needed(node):
            self._reuse(node, content)
        elif is_op(node, "Reshape"):
            self._fix_target(node)
        elif is_op(node, "Slice"):
            self._skip_whole(node)
        elif is_op(node, "Expand"):
            self._skip_same(node)

    def _result_is_needed(self, node: ir.Node) -> bool:
        result = node.outputs[0]
        return result.is_graph_output() or result.dtype not in (ir.DataType.INT64, ir.DataType.INT32)

    def _reuse(self, node: ir.Node, content: Content) -> None:
        result = node.outputs[0]
        numbers = content.numbers()
        assert result.dtype is not None
        if numbers is not None:
            array = np.array(numbers if content.rank else numbers[0], result.dtype.numpy())
            self.edit.bypass(node, self.edit.constant(array, result))
        elif content.known:
            key = (content, result.dtype)
            first = self._first.get(key)
            # The first of its kind may have become useless, and is no more.
            if first is None or not _is_there(first):
                self._first[key] = result
            else:
                self.edit.bypass(node, first)

    def _fix_target(self, node: ir.Node) -> None:
        target = input_of(node, 1)
        content, source = self._contents.of(target), sizes_of(node.inputs[0])
        if target is None or is_constant(target) or content is None or source is None:
            return
        wanted = _resolved(content, source, node.attributes.get_int("allowzero", 0))
        fixed = constant_target(source, closed(source, wanted), self._never_zero) if wanted is not None else None
        if fixed is None:
            self.decline(node, "more than one dim of its target is neither a number nor a dim of its input")
            return
        shape = self.edit.constant(np.array(fixed, np.int64), target)
        self.edit.become(node, "Reshape", [node.inputs[0], shape])

    def _skip_whole(self, node: ir.Node) -> None:
        """A Slice from 0 to the size that the dim has."""
        source = sizes_of(node.inputs[0])
        starts, ends = self._contents.of(input_of(node, 1)), self._contents.of(input_of(node, 2))
        steps = small_ints(input_of(node, 4)) if input_of(node, 4) is not None else [1]
        if source is None or starts is None or ends is None or steps is None or set(steps) != {1}:
            return
        axes = small_ints(input_of(node, 3)) if input_of(node, 3) is not None else list(range(len(starts.sizes)))
        if axes is None or starts.numbers() != [0] * len(axes):
            return
        if all(end is not None and source[axis] == end for axis, end in zip(axes, ends.sizes, strict=True)):
            assert node.inputs[0] is not None
            self.edit.bypass(node, node.inputs[0])

    def _skip_same(self, node: ir.Node) -> None:
        """An Expand to the shape that is there already, or to less of it."""
        source, target = sizes_of(node.inputs[0]), self._contents.of(input_of(node, 1))
        if source is None or target is None or len(target.sizes) > len(source):
            return
        pairs = zip(reversed(source), reversed(target.sizes), strict=False)
        if all(size is not None and size in (Size.of(1), dim) for dim, size in pairs):
            assert node.inputs[0] is not None
            self.edit.bypass(node, node.inputs[0])


def _is_there(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.graph is not None


def _resolved(content: Content, source: tuple[Size | None, ...], allowzero: int) -> tuple[Size | None, ...] | None:
    """The shape that a target stands for: a 0 in it keeps a dim, and a -1 is open."""
    wanted: list[Size | None] = []
    for place, size in enumerate(content.sizes):
        number = None if size is None else size.number
        if number == 0:
            if allowzero or place >= len(source):
                return None
            wanted.append(source[place])
        else:
            wanted.append(None if number == -1 else size)
    return tuple(wanted)
