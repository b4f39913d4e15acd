"""Pieces of a graph as graphs of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.ir.subgraphs import subgraphs_of


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node uses, the graphs inside of it included, of the graph that it stands in."""
    values = [value for value in node.inputs if value is not None]
    for graph in subgraphs_of(node):
        inner = [value for inside in ir.traversal.RecursiveGraphIterator(graph) for value in inside.inputs]
        values += [value for value in inner if value is not None and value.graph is node.graph]
    return list(dict.fromkeys(values))


def slice_of(graph: ir.Graph, outputs: Collection[str], stops: Collection[str]) -> list[ir.Node]:
    """The nodes that the outputs need, back to the stops; in order. An output may be a stop itself."""
    by_name = {value.name: value for node in graph for value in node.outputs}
    needed: set[ir.Node] = set()
    ahead = [by_name[name].producer() for name in outputs]
    while ahead:
        node = ahead.pop()
        if node is None or node in needed:
            continue
        needed.add(node)
        ahead += [value.producer() for value in reads(node) if value.name not in stops]
    return [node for node in graph if node in needed]


def given_to(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    """What nodes read that neither they nor the weights give."""
    nodes = list(nodes)
    own = {value for node in nodes for value in node.outputs}
    found = dict.fromkeys(value for node in nodes for value in reads(node))
    return [value for value in found if value not in own and value.name and not value.is_initializer()]


def handed_on(graph: ir.Graph, nodes: Iterable[ir.Node]) -> list[ir.Value]:
    """What nodes compute that others read, or that the graph hands out."""
    inside = dict.fromkeys(nodes)
    wanted = {value for node in graph if node not in inside for value in reads(node)} | set(graph.outputs)
    return [value for node in inside for value in node.outputs if value in wanted]


def piece(
    model: ir.Model, nodes: Iterable[ir.Node], outputs: Collection[str], known: Arrays, dims: Collection[str] = ()
) -> ir.Model:
    """These nodes alone. What they are given becomes inputs, with the types and sizes of the known arrays.

    Sizes that have one of the names in `dims` keep it.
    """
    nodes = list(nodes)
    inputs = given_to(nodes)
    view = ir.GraphView(
        inputs,
        [value for node in nodes for value in node.outputs if value.name in outputs],
        nodes=nodes,
        initializers=_weights(nodes),
        opset_imports=model.opset_imports,
        name="piece",
    )
    graph = view.clone()
    for value in [*graph.inputs, *(value for node in graph for value in node.outputs)]:
        array = known.get(value.name or "")
        if array is not None:
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            value.shape = _shape(value.shape, array.shape, dims)
    functions = [function.clone() for function in model.functions.values()]
    return ir.Model(graph, ir_version=model.ir_version, functions=functions)


def _shape(have: ir.Shape | None, sizes: tuple[int, ...], dims: Collection[str]) -> ir.Shape:
    if have is None or len(have) != len(sizes):
        return ir.Shape(sizes)
    pairs = zip(have, sizes, strict=True)
    kept = [dim if isinstance(dim, ir.SymbolicDim) and dim.value in dims else size for dim, size in pairs]
    return ir.Shape(kept)


def _weights(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    return [value for value in dict.fromkeys(v for node in nodes for v in reads(node)) if value.is_initializer()]
