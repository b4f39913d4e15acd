"""The graphs that live inside nodes: bodies of loops, branches of conditions."""

from __future__ import annotations

import onnx_ir as ir


def graphs_in(attr: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs that an attribute holds; none for any attribute that is not about graphs."""
    if attr.is_ref():
        return ()
    if attr.type is ir.AttributeType.GRAPH:
        return (attr.as_graph(),)
    return attr.as_graphs() if attr.type is ir.AttributeType.GRAPHS else ()


def subgraphs_of(node: ir.Node) -> tuple[ir.Graph, ...]:
    """Asked of every node by every pass, so the common answer comes first."""
    attributes = node.attributes.data
    return tuple(graph for attr in attributes.values() for graph in graphs_in(attr)) if attributes else ()
