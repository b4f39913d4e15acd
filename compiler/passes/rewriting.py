"""What passes that look at one node at a time share: the walk, and edits that leave nothing dead behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.provenance import inherit
from compiler.ir.subgraphs import subgraphs_of
from compiler.passes.declined import Declining

if TYPE_CHECKING:
    from compiler.passes.elementwise import Link


class LocalRewrite(Declining, ir.passes.InPlacePass):
    """Visits every node once, producers first; `visit` edits around the node through `self.edit`."""

    edit: Edit

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self.edit = Edit(model)
        for graph in graphs(model):
            self.enter(graph)
            for node in tuple(graph):
                if node.graph is graph:
                    self.visit(node)
        self.edit.finish()
        return ir.passes.PassResult(model, self.edit.modified)

    def enter(self, graph: ir.Graph) -> None:
        """Before the first node of a graph; a graph comes before those inside of it."""

    def visit(self, node: ir.Node) -> None:
        raise NotImplementedError


def graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, and then those inside of it, outer ones first."""
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        yield graph
        pending.extend(subgraph for node in graph for subgraph in subgraphs_of(node))


class Edit:
    """Changes to one model. It remembers whether there were any."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._names: set[str] | None = None
        self._loosened: dict[ir.Value, None] = {}
        self.modified = False

    @property
    def opset(self) -> int:
        return self._model.opset_imports.get("", 0)

    def constant(self, array: Array, like: ir.Value, dtype: ir.DataType | None = None) -> ir.Value:
        """A new initializer, seen from every graph; named after the value that it stands for or takes part in."""
        name = self.fresh(f"{like.name}_const")
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), dtype=dtype, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._model.graph.register_initializer(value)
        return value

    def insert(
        self,
        place: ir.Node,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        dtype: ir.DataType | None = None,
        shape: ir.Shape | None = None,
        origins: Sequence[ir.Node] = (),
    ) -> ir.Value:
        """A new node before `place`, from where `place` and `origins` come from; its result."""
        assert place.graph is not None
        node = ir.node(operator, inputs, dict(attributes or {}))
        node.name = self.fresh(f"{place.name or place.op_type}_{operator.lower()}")
        node.outputs[0].name = self.fresh(f"{place.outputs[0].name}_{operator.lower()}")
        node.outputs[0].type = None if dtype is None else ir.TensorType(dtype)
        node.outputs[0].shape = shape
        inherit([node], list(origins or [place]))
        place.graph.insert_before(place, node)
        self.modified = True
        return node.outputs[0]

    def follow(
        self, node: ir.Node, value: ir.Value, operator: str, attributes: Mapping[str, Any], word: str
    ) -> ir.Value:
        """A new node behind `node`, of its result `value`; `word` is added to that one's name.

        Everyone who knew it takes the new result, which has its name, type and shape.
        """
        assert node.graph is not None
        behind = ir.node(operator, [value], dict(attributes), name=self.fresh(f"{node.name}_{operator.lower()}"))
        new = behind.outputs[0]
        new.type, new.shape = value.type, value.shape
        inherit([behind], [node])
        node.graph.insert_after(node, behind)
        ir.convenience.replace_all_uses_with(value, new, replace_graph_outputs=True)
        behind.replace_input_with(0, value)
        new.name, value.name = value.name, self.fresh(f"{value.name}_{word}")
        self.modified = True
        return new

    def become(
        self,
        node: ir.Node,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        origins: Iterable[ir.Node] = (),
    ) -> None:
        """The node computes its results in another way; what only its old inputs needed goes."""
        dropped = [value for value in node.inputs if value is not None]
        node.op_type = operator
        node.version = None
        node.attributes.clear()
        for attr in ir.convenience.convert_attributes(dict(attributes or {})):
            node.attributes[attr.name] = attr
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        inherit([node], [old for old in origins if old is not node])
        self.prune(dropped)
        self.modified = True

    def bypass(self, node: ir.Node, value: ir.Value) -> None:
        """Users of the node's only result take `value`. Where the result is an output, an Identity keeps the name."""
        result = node.outputs[0]
        if result.is_graph_output():
            if is_op(node, "Identity") and node.inputs[0] is value:
                return
            self.become(node, "Identity", [value])
            return
        value.type = value.type or result.type
        value.shape = value.shape or result.shape
        result.replace_all_uses_with(value)
        self.remove(node)

    def take_over(self, node: ir.Node, producer: ir.Node) -> None:
        """The producer of the node's first input already computes the node's result, and takes its place and name."""
        result, old = node.outputs[0], producer.outputs[0]
        inherit([producer], [node])
        if result.is_graph_output():
            self.become(node, "Identity", [old])
            return
        old.type, old.shape = result.type or old.type, result.shape or old.shape
        result.replace_all_uses_with(old)
        self.remove(node)

    def lead_through(self, last: ir.Node, start: ir.Value, links: Sequence[Link]) -> None:
        """A chain of elementwise nodes begins at `start`, and gives what `last` made of its old result."""
        result = last.outputs[0]
        for link in links:
            old = link.node.inputs[link.index]
            link.node.replace_input_with(link.index, start)
            start = link.node.outputs[0]
            start.shape = result.shape
            assert old is not None
            self.prune([old])
        self.modified = True
        self.bypass(last, start)

    def remove(self, node: ir.Node) -> None:
        """A node whose results nobody uses, and what nobody needs then."""
        dropped = [value for value in node.inputs if value is not None]
        dropped += detach(node)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        self.modified = True
        self.prune(dropped)

    def prune(self, values: Iterable[ir.Value]) -> None:
        pending = list(values)
        while pending:
            value = pending.pop()
            producer = value.producer()
            if producer is None:
                self._loosened[value] = None
            elif producer.graph is not None and not any(map(wanted, producer.outputs)):
                pending.extend(value for value in producer.inputs if value is not None)
                pending.extend(detach(producer))
                producer.graph.remove(producer, safe=True)

    def finish(self) -> None:
        """Initializers go at the end: to ask each time would be quadratic where all layers share a constant."""
        for value in self._loosened:
            if not wanted(value):
                self._drop_initializer(value)
        self._loosened.clear()

    def _drop_initializer(self, value: ir.Value) -> None:
        graph = value.graph
        if graph is not None and value.is_initializer() and not value.is_graph_input() and isinstance(graph, ir.Graph):
            graph.initializers.pop(str(value.name))

    def fresh(self, name: str) -> str:
        """A name that nothing in the model has yet, as each graph only guards its own."""
        if self._names is None:
            self._names = set(_names(self._model))
        candidate, count = name, 1
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate


def detach(node: ir.Node) -> list[ir.Value]:
    """Take what is inside of a node off the values that it uses, before the node goes; which values those are."""
    used: list[ir.Value] = []
    for graph in subgraphs_of(node):
        for inner in graph.all_nodes():
            used += [value for value in inner.inputs if value is not None]
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
    return used


def _names(model: ir.Model) -> Iterator[str]:
    for graph in graphs(model):
        yield from (value.name for value in graph.inputs if value.name)
        yield from graph.initializers
        for node in graph:
            yield from (value.name for value in node.outputs if value.name)
            yield node.name or ""


# -- reading ----------------------------------------------------------------------------------------------------


def wanted(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def is_op(node: ir.Node | None, *operators: str) -> bool:
    return node is not None and node.op_type in operators and node.domain == ""


def made_by(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """The node that makes a value, if it is one of these operators."""
    producer = value.producer() if value is not None else None
    return producer if is_op(producer, *operators) else None


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and value.is_initializer() and not value.is_graph_input()


def constant(value: ir.Value | None) -> Array | None:
    """The content of an initializer that nobody can override."""
    if value is None or not is_constant(value):
        return None
    assert value.const_value is not None
    return value.const_value.numpy()


def small_ints(value: ir.Value | None, limit: int = 64) -> list[int] | None:
    """A short constant of whole numbers, such as axes or a shape."""
    if value is None or not is_constant(value):
        return None
    assert value.const_value is not None
    if value.const_value.size > limit or not value.const_value.dtype.is_integer():
        return None
    return [int(number) for number in value.const_value.numpy().reshape(-1)]


def ints(node: ir.Node, name: str, index: int) -> list[int] | None:
    """Whole numbers that older operators take as an attribute and newer ones as an input."""
    if name in node.attributes:
        return list(node.attributes[name].as_ints())
    return small_ints(input_of(node, index))


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    if value is None or value.shape is None:
        return None
    sizes = tuple(dim for dim in value.shape if isinstance(dim, int))
    return sizes if len(sizes) == len(value.shape) else None


def rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


# What exporters write for "not known", which must not be taken for the name of one size.
_NO_NAMES = {"", "?", "-1", "none", "unknown", "unk", "dynamic"}


def dims(value: ir.Value | None) -> tuple[int | str | None, ...] | None:
    """The dims of a value: a number, the name or expression that equals only itself, or None where not known."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else _named(dim.value) for dim in value.shape)


def _named(name: str | None) -> str | None:
    return None if name is None or name.strip().lower() in _NO_NAMES else name.replace(" ", "")


INVENTED = "unk__"  # how onnx's inference begins a name that nobody gave


def is_open(value: ir.Value) -> bool:
    """Whether there is a dim left to find a number or a name for; most graphs come with those of all dims."""
    sizes = dims(value)
    return sizes is None or any(size is None or (isinstance(size, str) and INVENTED in size) for size in sizes)


def same_shape(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether both certainly have one shape."""
    mine, theirs = dims(one), dims(other)
    return mine is not None and mine == theirs and None not in mine
