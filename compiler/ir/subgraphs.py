"""The graphs that live inside nodes: bodies of loops, branches of conditions."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir


def graphs_in(attr: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs that an attribute holds; none for any attribute that is not about graphs."""
    if attr.is_ref():
        return ()
    if attr.type is ir.AttributeType.GRAPH:
        return (attr.as_graph(),)
    return attr.as_graphs() if attr.type is ir.AttributeType.GRAPHS else ()


def subgraphs_of(node: ir.Node) -> Iterator[ir.Graph]:
    for attr in node.attributes.values():
        yield from graphs_in(attr)
