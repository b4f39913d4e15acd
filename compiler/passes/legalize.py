"""Rewrite a graph into what a backend takes.

An operator that the backend refuses, or that is newer than the opset it takes, is replaced by the function body that
the ONNX schema defines it with, again and again until everything is taken. An operator without a body is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from compiler.contracts import Legality
from compiler.errors import UnsupportedError
from compiler.ir.bodies import Copier, call_attributes, infer_types, schema_bodies, type_inputs
from compiler.ir.opsets import difference, drop_unknown_defaults, schema_at
from compiler.ir.provenance import describe, inherit
from compiler.ir.subgraphs import subgraphs_of
from compiler.ir.text import dtype_text

# The format of files that goes with the hub's opset 24.
_FILE_VERSION = 12
_LISTED = 3  # how many refused nodes an error names


class Legalize(ir.passes.InPlacePass):
    """Leaves only what `legality` allows, in opsets that it lists; an UnsupportedError where that cannot be done."""

    def __init__(self, legality: Legality, target: str = "the target") -> None:
        self._legality = legality
        self._target = target

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        work = _Legalization(model, self._legality)
        modified = work.run()
        if work.refusals:
            raise refused(self._target, work.refusals)
        return ir.passes.PassResult(model, modified)


@dataclass(frozen=True)
class Refusal:
    """One node or value that a target does not take."""

    what: str
    where: str
    why: str
    types: frozenset[str] = frozenset()  # the element types that a refused node works on


def refused(target: str, refusals: list[Refusal]) -> UnsupportedError:
    listed = refusals[:_LISTED]
    rest = f", and {len(refusals) - _LISTED} more" if len(refusals) > _LISTED else ""
    reasons = dict.fromkeys(f"{refusal.what}: {refusal.why}" for refusal in refusals)
    kinds = tuple(dict.fromkeys(refusal.what for refusal in refusals))
    error = UnsupportedError(
        "unsupported-op",
        f"{target} cannot build this model",
        where="; ".join(refusal.where for refusal in listed) + rest,
        why="; ".join(reasons),
        hint=f"another --target, or a model without {', '.join(kinds)}",
    )
    error.refused = kinds
    error.types = frozenset().union(*(refusal.types for refusal in refusals))
    return error


class _Names:
    """Names that nothing in the model has yet, as each graph only guards its own."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str] = set()
        roots = [model.graph, *(function.graph for function in model.functions.values())]
        for graph in (graph for root in roots for graph in (root, *root.subgraphs())):
            self._taken.update(value.name for value in graph.inputs if value.name)
            self._taken.update(graph.initializers)
            for node in graph:
                self._taken.update(value.name for value in node.outputs if value.name)
                self._taken.add(node.name or "")

    def fresh(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate


class _Legalization:
    def __init__(self, model: ir.Model, legality: Legality) -> None:
        self._model = model
        self._legality = legality
        self._names = _Names(model)
        self._modified = False
        self.refusals: list[Refusal] = []

    def run(self) -> bool:
        self._legalize_graph(self._model.graph, self._model.opset_imports)
        pending, reached = _calls(self._model, self._model.graph), set[ir.OperatorIdentifier]()
        while pending:
            identifier = pending.pop()
            if identifier not in reached:
                reached.add(identifier)
                function = self._model.functions[identifier]
                self._legalize_graph(function.graph, function.opset_imports)
                pending |= _calls(self._model, function.graph)
        for identifier in self._model.functions.keys() - reached:
            del self._model.functions[identifier]
            self._modified = True
        self._modified |= self._lower_file_version()
        return self._modified

    def _lower_file_version(self) -> bool:
        """Files of a format newer than the opsets call for are refused by runtimes that know the opsets."""
        opsets = [onnx.helper.make_opsetid(*entry) for entry in self._model.opset_imports.items()]
        needed = max(onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True), _FILE_VERSION)
        lower = self._model.ir_version > needed
        if lower:
            self._model.ir_version = needed
        return lower

    def _legalize_graph(self, graph: ir.Graph, imports: dict[str, int]) -> None:
        written = dict(imports)
        goal = self._goal(written)
        self._check_inputs(graph)
        for node in tuple(graph):
            self._legalize_node(node, written, goal)
        # What a domain brought is expanded by now, so that the domain itself can go.
        left = {domain: version for domain, version in goal.items() if domain in self._legality.opsets}
        self._modified |= imports != left
        imports.clear()
        imports.update(left)

    def _goal(self, written: Mapping[str, int]) -> dict[str, int]:
        taken = self._legality.opsets
        return {domain: min(version, taken.get(domain, version)) for domain, version in written.items()}

    def _legalize_node(self, node: ir.Node, written: Mapping[str, int], goal: dict[str, int]) -> None:
        """`written` are the opsets that a node means, `goal` those that its graph will have in the end."""
        objection = self._objection(node, written, goal)
        if objection is None:
            self._adopt(node, written, goal)
            return
        body = self._body(node, written, goal)
        if body is None:
            self.refusals.append(Refusal(operator_of(node), describe(node), objection, types_of(node)))
            return
        self._modified = True
        meant = {**written, **body.opset_imports}
        for domain, version in self._goal(meant).items():
            goal.setdefault(domain, version)
        for new in self._expand(node, body, meant, schema_at(node, written.get(node.domain, 0))):
            self._legalize_node(new, meant, goal)

    def _adopt(self, node: ir.Node, written: Mapping[str, int], goal: dict[str, int]) -> None:
        schema = schema_at(node, goal[node.domain])
        if schema is not None and node.op_identifier() not in self._model.functions:
            self._modified |= drop_unknown_defaults(node, schema)
        node.version = None  # it would contradict the opset that the graph will declare
        for value in node.outputs:
            self._check_type(value, describe(node))
        for subgraph in subgraphs_of(node):
            self._check_inputs(subgraph)
            for inner in tuple(subgraph):
                self._legalize_node(inner, written, goal)

    def _check_inputs(self, graph: ir.Graph) -> None:
        for value in dict.fromkeys((*graph.inputs, *graph.initializers.values())):
            self._check_type(value, f"'{value.name}'")

    def _check_type(self, value: ir.Value, where: str) -> None:
        dtype = dtype_text(value.dtype) if value.dtype is not None else ""
        if dtype in self._legality.dtypes:
            self.refusals.append(Refusal(dtype, where, self._legality.dtypes[dtype]))

    def _objection(self, node: ir.Node, written: Mapping[str, int], goal: Mapping[str, int]) -> str | None:
        refused = self._legality.refuses.get(operator_of(node))
        if refused is not None:
            return refused
        if node.domain not in self._legality.opsets:
            return f"no operators of domain '{node.domain or 'ai.onnx'}' are taken"
        here = schema_at(node, written[node.domain])
        if here is None or node.op_identifier() in self._model.functions:
            return None
        there = schema_at(node, goal[node.domain])
        if there is None:
            return f"it exists since opset {here.since_version}, and only {goal[node.domain]} is taken"
        return difference(node, here, there)

    def _body(self, node: ir.Node, written: Mapping[str, int], goal: Mapping[str, int]) -> ir.Function | None:
        """The newest body whose operators are all taken as they are, else the newest that can be expanded further."""
        if node.op_identifier() in self._model.functions:
            return self._model.functions[node.op_identifier()]
        schema = schema_at(node, written.get(node.domain, 0))
        type_inputs(node, written)
        bodies = list(schema_bodies(node, schema)) if schema is not None else []
        taken = [body for body in bodies if self._is_taken(body, {**written, **body.opset_imports}, goal)]
        return next(iter(taken or bodies), None)

    def _is_taken(self, body: ir.Function, meant: Mapping[str, int], goal: Mapping[str, int]) -> bool:
        combined = {**self._goal(meant), **goal}
        return all(self._objection(node, meant, combined) is None for node in body.all_nodes())

    def _expand(
        self, node: ir.Node, body: ir.Function, meant: Mapping[str, int], schema: onnx.defs.OpSchema | None
    ) -> list[ir.Node]:
        assert node.graph is not None
        prefix = node.name or node.outputs[0].name or node.op_type
        attributes = call_attributes(node, schema)
        copier = Copier(body, node.inputs, attributes, lambda name: self._names.fresh(f"{prefix}/{name}"))
        new_nodes = []
        for new in copier.nodes():
            infer_types(new, meant)
            new_nodes.append(new)
        pairs = [pair for pair in zip(node.outputs, copier.outputs(), strict=False) if pair[0].name]
        new_values = list(_own_outputs([new for _, new in pairs], new_nodes))
        new_nodes = _used(new_nodes, set(new_values))
        inherit((inner for new in new_nodes for inner in _with_inner(new)), [node])
        old_values = [old for old, _ in pairs]
        ir.convenience.replace_nodes_and_values(node.graph, node, [node], new_nodes, old_values, new_values)
        return new_nodes


def _with_inner(node: ir.Node) -> Iterator[ir.Node]:
    yield node
    for subgraph in subgraphs_of(node):
        yield from subgraph.all_nodes()


def _own_outputs(values: Iterable[ir.Value | None], new_nodes: list[ir.Node]) -> Iterator[ir.Value]:
    """The values that take over a node's outputs; each needs one of its own, but a body may hand out its input."""
    free = {value for node in new_nodes for value in node.outputs}
    for value in values:
        if value not in free:
            new_nodes.append(ir.node("Identity", [value]))
            value = new_nodes[-1].outputs[0]
        free.discard(value)
        yield value


def _used(nodes: list[ir.Node], results: set[ir.Value]) -> list[ir.Node]:
    """Without the nodes that lead to no result: a body computes what only some calls need."""
    kept = []
    for node in reversed(nodes):
        if any(value in results or value.uses() for value in node.outputs) or any(subgraphs_of(node)):
            kept.append(node)
            continue
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)
    return kept[::-1]


def _calls(model: ir.Model, graph: ir.Graph) -> set[ir.OperatorIdentifier]:
    return {node.op_identifier() for node in graph.all_nodes() if node.op_identifier() in model.functions}


def takes(legality: Legality, error: UnsupportedError) -> bool:
    """Whether a target takes, as far as its table tells, what another one refused."""
    known = all(what.rpartition("::")[0] in legality.opsets for what in error.refused)
    return known and not {*error.refused, *error.types} & {*legality.refuses, *legality.dtypes}


def types_of(node: ir.Node) -> frozenset[str]:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return frozenset(dtype_text(value.dtype) for value in values if value.dtype is not None)


def operator_of(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
