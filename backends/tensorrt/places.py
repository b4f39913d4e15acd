"""From TensorRT's words to the nodes of our graph, and with them to the user's lines of Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_LISTED = 3


class Places:
    """Where nodes come from. The graph is only read when something has failed."""

    def __init__(self, graph: Path) -> None:
        import onnx_ir as ir

        from compiler.ir.provenance import describe

        self._by_name: dict[str, str] = {}
        self._by_type: dict[str, list[str]] = {}
        for node in ir.traversal.RecursiveGraphIterator(ir.load(graph).graph):
            words = describe(node)
            for name in (node.name, *(value.name for value in node.outputs)):
                if name:
                    self._by_name.setdefault(name, words)
            self._by_type.setdefault(node.op_type, []).append(words)

    def node(self, name: str, operator: str) -> str:
        """A node by its name; where TensorRT keeps that for itself, all that it may have meant."""
        # A node without a name gets one there, from its first output.
        known = self._by_name.get(name) or self._by_name.get(name.removeprefix("node_of_"))
        return known or listed(self._by_type.get(operator, [])) or name or operator

    def mentioned(self, texts: Iterable[str]) -> str | None:
        """The nodes that occur in free text."""
        words = [word for text in texts for word in re.findall(r"[\w./:-]+", text)]
        return listed([self._by_name[word] for word in words if word in self._by_name]) or None


def listed(places: Sequence[str]) -> str:
    """The first few, each once, and how many more."""
    unique = list(dict.fromkeys(place for place in places if place))
    rest = f", and {len(unique) - _LISTED} more" if len(unique) > _LISTED else ""
    return "; ".join(unique[:_LISTED]) + rest
