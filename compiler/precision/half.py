"""A graph in float16 or bfloat16: what gains by it computes in 16 bits, what loses too much stays in float32.

Between the two stands one Cast for each value and direction. What comes in and goes out keeps its type.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.collapse_casts import CollapseCasts
from compiler.passes.infer_shapes import InferShapes
from compiler.passes.rewriting import Edit, constant, is_constant, is_op
from compiler.precision.half_plan import MASK, Plan, plan
from compiler.precision.half_ranges import is_single, largest
from compiler.precision.half_rules import ANY_TYPE, WORK
from compiler.precision.recipe import Layer, Name, Recipe, Samples

_TYPES: dict[Name, ir.DataType] = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
_WIDE = ir.DataType.FLOAT


def to_half(model: ir.Model, recipe: Recipe, samples: Samples | None) -> tuple[Layer, ...]:
    """In place; what became of each node that does the work, holds weights, or was refused."""
    InferShapes()(model)
    half = recipe.half
    assert half is not None
    made = plan(model, recipe, _TYPES[half], samples)
    layers = tuple(_layers(model, half, made))
    _Rewrite(model, made).run()
    CollapseCasts()(model)
    return layers


def _layers(model: ir.Model, half: Name, made: Plan) -> Iterator[Layer]:
    for node in model.graph:
        weights = _weights_of(node)
        name = str(node.name or node.outputs[0].name)
        if node in made.taken and (weights or is_op(node, *WORK)):
            yield Layer(name, node.op_type, half, 16, weights)
        elif made.reasons.get(node) or (weights and node in made.reasons):
            yield Layer(name, node.op_type, "float32", 32, weights, made.reasons[node] or "what it takes is in float32")


def _weights_of(node: ir.Node) -> int:
    """How many numbers a node has of its own."""
    return sum(array.size for value in node.inputs if is_single(value) and (array := constant(value)) is not None)


class _Rewrite:
    def __init__(self, model: ir.Model, made: Plan) -> None:
        self._model = model
        self._plan = made
        self._edit = Edit(model)
        self._order = {node: place for place, node in enumerate(model.graph)}

    def run(self) -> None:
        """Results first: after that, a value that is still in float32 is one that has to be cast down."""
        for node in self._plan.taken:
            if is_op(node, "Attention"):
                # The products gain by 16 bits, and what stands between them does not: the standard lets one say so.
                node.attributes["softmax_precision"] = ir.AttrInt64("softmax_precision", int(_WIDE))
            for value in node.outputs:
                if value.name and is_single(value):
                    self._narrow(node, value)
        for value, users in self._wanted_narrow().items():
            masks = [use for use in users if is_op(use[0], "Attention") and use[1] == MASK]
            self._lead(value, [use for use in users if use not in masks], cut=False)
            self._lead(value, masks, cut=True)
        self._edit.finish()

    def _narrow(self, node: ir.Node, value: ir.Value) -> None:
        """The result is in 16 bits; who wants float32 takes it through a Cast, which then has its name."""
        result = value
        if value.is_graph_output() or any(not self._is_narrow(*use) for use in value.uses()):
            wide = self._edit.follow(node, value, "Cast", {"to": int(_WIDE)}, _word(self._plan.dtype))
            for user, place in tuple(wide.uses()):
                if self._is_narrow(user, place):
                    user.replace_input_with(place, value)
        result.type = ir.TensorType(self._plan.dtype)

    def _is_narrow(self, user: ir.Node, place: int) -> bool:
        return place in self._plan.taken.get(user, ()) or is_op(user, *ANY_TYPE)

    def _wanted_narrow(self) -> dict[ir.Value, list[tuple[ir.Node, int]]]:
        wanted: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
        for node, places in self._plan.taken.items():
            for place in places:
                value = node.inputs[place]
                if value is not None and is_single(value):
                    wanted.setdefault(value, []).append((node, place))
        return wanted

    def _lead(self, value: ir.Value, users: list[tuple[ir.Node, int]], *, cut: bool) -> None:
        """These users take the value in 16 bits."""
        if not users:
            return
        if is_constant(value):
            narrow = self._weights(value, users, cut=cut)
        else:
            first = min((user for user, _ in users), key=self._order.__getitem__)
            if cut:
                value = self._cut(value, first)
            to = self._plan.dtype
            narrow = self._edit.insert(first, "Cast", [value], {"to": int(to)}, dtype=to, shape=value.shape)
        for user, place in users:
            user.replace_input_with(place, narrow)
        self._edit.prune([value])

    def _cut(self, mask: ir.Value, place: ir.Node) -> ir.Value:
        """A mask's lowest number would become -inf, and a row of nothing but those has no softmax."""
        end = largest(self._plan.dtype)
        ends = [self._edit.constant(np.asarray(sign * end, np.float32), mask) for sign in (-1, 1)]
        return self._edit.insert(place, "Clip", [mask, *ends], dtype=_WIDE, shape=mask.shape)

    def _weights(self, value: ir.Value, users: list[tuple[ir.Node, int]], *, cut: bool) -> ir.Value:
        array = constant(value)
        assert array is not None
        if cut:
            end = largest(self._plan.dtype)
            array = np.where(np.isfinite(array), np.clip(array, -end, end), array)
        narrow = array.astype(self._plan.dtype.numpy())
        if len(value.uses()) > len(users) or value.is_graph_output():
            return self._edit.constant(narrow, value, self._plan.dtype)
        _store(value, narrow, self._plan.dtype)
        return value


def _store(value: ir.Value, array: Array, dtype: ir.DataType) -> None:
    value.const_value = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), dtype=dtype, name=value.name)
    value.type = ir.TensorType(dtype)


def _word(dtype: ir.DataType) -> str:
    return dtype.name.lower()
