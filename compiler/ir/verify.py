"""The structural verifier: what every pass must leave true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NoReturn

import onnx_ir as ir

from compiler.contracts import Dim, Extent, Signature, TensorSpec
from compiler.errors import CompileError, InternalError
from compiler.ir.opsets import schema_at
from compiler.ir.provenance import describe
from compiler.ir.subgraphs import subgraphs_of
from compiler.ir.text import dtype_text, type_text

_STANDARD_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview"})


def verify(model: ir.Model) -> None:
    """Raise InternalError where the structure of a model is broken."""
    for value in model.graph.outputs:
        if value.type is None:
            _broken(f"output '{value.name}' has no type", value.producer())
    _GraphCheck(model, model.opset_imports).check(model.graph)
    for function in model.functions.values():
        _GraphCheck(model, function.opset_imports).check(function.graph)
    _check_recursion(model)


def signature_of(model: ir.Model, dims: Mapping[str, Dim] | None = None) -> Signature:
    """The inputs and outputs of a model. A symbolic dim gets its range from `dims`, and stays text without one."""
    ranges = dims or {}
    inputs = tuple(_spec(value, ranges) for value in model.graph.inputs if not value.is_initializer())
    return Signature(inputs, tuple(_spec(value, ranges) for value in model.graph.outputs))


def _spec(value: ir.Value, ranges: Mapping[str, Dim]) -> TensorSpec:
    if value.dtype is None or value.shape is None or not isinstance(value.type, ir.TensorType):
        raise CompileError(
            "unreadable-model",
            "inputs and outputs must be tensors of known rank",
            where=f"'{value.name}'",
            why=f"its type is {type_text(value)}",
        )
    return TensorSpec(value.name or "", dtype_text(value.dtype), tuple(_extent(dim, ranges) for dim in value.shape))


def _extent(dim: int | ir.SymbolicDim, ranges: Mapping[str, Dim]) -> Extent | str:
    if isinstance(dim, int):
        return dim
    return ranges.get(dim.value, dim.value) if dim.value is not None else "?"


def _broken(why: str, node: ir.Node | None) -> NoReturn:
    where = describe(node) if node is not None else None
    raise InternalError("broken-graph", "the graph is broken", where=where, why=why)


class _Scope:
    """The values that are visible at a point, through all the enclosing graphs."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self._outer = outer
        self._values: set[ir.Value] = set()
        self._names: set[str] = set()

    def __contains__(self, value: ir.Value) -> bool:
        return value in self._values or (self._outer is not None and value in self._outer)

    def _has_name(self, name: str) -> bool:
        return name in self._names or (self._outer is not None and self._outer._has_name(name))

    def define(self, value: ir.Value, node: ir.Node | None) -> None:
        if value.name == "":  # an optional output that nobody wants
            return
        if value.name is None:
            _broken("a value has no name", node)
        if value in self or self._has_name(value.name):
            _broken(f"'{value.name}' is defined twice", node)
        self._values.add(value)
        self._names.add(value.name)


class _GraphCheck:
    """Checks one graph or function body together with the subgraphs in it."""

    def __init__(self, model: ir.Model, opsets: Mapping[str, int]) -> None:
        self._functions = model.functions
        self._function_domains = {domain for domain, _, _ in model.functions}
        self._opsets = opsets
        self._uses: Counter[ir.Value] = Counter()
        self._defined: list[ir.Value] = []

    def check(self, graph: ir.Graph) -> None:
        self._check_graph(graph, None)
        for value in self._defined:
            dangling = len(value.uses()) - self._uses[value]
            if dangling:
                _broken(f"'{value.name}' counts {dangling} uses by nodes that are not in the graph", value.producer())

    def _check_graph(self, graph: ir.Graph, outer: _Scope | None) -> None:
        scope = _Scope(outer)
        for value in graph.inputs:
            self._define(value, None, scope)
        for name, value in graph.initializers.items():
            _check_initializer(name, value)
            if value not in scope:
                self._define(value, None, scope)
        for node in graph:
            if node.graph is not graph:
                _broken("the node does not know the graph that holds it", node)
            self._check_node(node, scope)
        for value in graph.outputs:
            if value not in scope:
                _broken(f"output '{value.name}' is not defined in its graph", value.producer())

    def _define(self, value: ir.Value, node: ir.Node | None, scope: _Scope) -> None:
        scope.define(value, node)
        self._defined.append(value)

    def _check_node(self, node: ir.Node, scope: _Scope) -> None:
        self._check_operator(node)
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if value not in scope:
                _broken(f"input {index}, '{value.name}', is not defined before the node", node)
            self._uses[value] += 1
        for subgraph in subgraphs_of(node):
            self._check_graph(subgraph, scope)
        for value in node.outputs:
            if value.producer() is not node:
                _broken(f"output '{value.name}' names another producer", node)
            self._define(value, node, scope)

    def _check_operator(self, node: ir.Node) -> None:
        version = node.version if node.version is not None else self._opsets.get(node.domain)
        if version is None:
            _broken(f"domain '{node.domain}' has no opset import", node)
        if node.op_identifier() in self._functions:
            return
        if node.domain in _STANDARD_DOMAINS:
            if schema_at(node, version) is None:
                _broken(f"opset {version} of domain '{node.domain}' has no {node.op_type}", node)
        elif node.domain in self._function_domains:
            _broken(f"the model has no function {node.domain}::{node.op_type}", node)


def _check_initializer(name: str, value: ir.Value) -> None:
    if value.name != name:
        _broken(f"initializer '{value.name}' is registered as '{name}'", None)
    if value.const_value is None:
        _broken(f"initializer '{name}' has no value", None)
    if value.producer() is not None:
        _broken(f"initializer '{name}' is also the output of a node", value.producer())


def _check_recursion(model: ir.Model) -> None:
    done: set[ir.OperatorIdentifier] = set()

    def visit(identifier: ir.OperatorIdentifier, callers: tuple[ir.OperatorIdentifier, ...]) -> None:
        if identifier in callers:
            _broken(f"function {identifier[0]}::{identifier[1]} calls itself", None)
        if identifier in done:
            return
        for node in model.functions[identifier].all_nodes():
            if node.op_identifier() in model.functions:
                visit(node.op_identifier(), (*callers, identifier))
        done.add(identifier)

    for identifier in model.functions:
        visit(identifier, ())
