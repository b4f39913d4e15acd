"""The names under which a graph lies on disk. Apart from `ir`, because a host that runs artifacts has no onnx-ir."""

from __future__ import annotations

from pathlib import Path

GRAPH = "model.onnx"
NODES = "nodes.json"  # in a bundle, what `ir.nodes` says of the graph that was built from
NODES_SCHEMA = "plumbline-nodes/1"


def data_file(graph: Path) -> Path:
    """Where the weights of a large graph lie."""
    return graph.with_name(graph.name + ".data")


def adopt(graph: Path, out: Path) -> tuple[str, ...]:
    """Move a saved graph to where it becomes an artifact; the names of its files, the graph first."""
    files = [graph.name]
    graph.rename(out / graph.name)
    if data_file(graph).exists():
        data_file(graph).rename(out / data_file(graph).name)  # the graph refers to it by this name
        files.append(data_file(graph).name)
    return tuple(files)
