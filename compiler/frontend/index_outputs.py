"""Outputs that are indices by value: argmax, topk, sort and the like, found in an exported program.

Two candidates whose values differ by less than rounding are equally right, so such an output is judged by the values
that its indices point at. The program is run a second time for them, with what the choice was made from kept.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from compiler.cases import Scores
from compiler.contracts import Array, Arrays
from compiler.frontend.arrays import to_numpy
from compiler.frontend.call import Constant
from compiler.frontend.candidates import thinned
from compiler.frontend.exported_facts import exported_outputs
from compiler.frontend.naming import output_leaves
from compiler.frontend.oracle import float64_oracle
from compiler.frontend.state import unchanged

# Operators that give indices: which of their results does, None where it is the only one.
_CHOICES: Mapping[str, int | None] = {
    "argmax": None, "argmin": None, "argsort": None,
    "topk": 1, "sort": 1, "max": 1, "min": 1, "kthvalue": 1, "median": 1,
}  # fmt: skip
# Operators that only move elements: what an index is does not change, only where it stands.
_MOVES = frozenset(
    {
        "view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze", "permute", "transpose", "t",
        "movedim", "select", "slice", "narrow", "expand", "flip", "unbind", "split", "chunk", "contiguous", "clone",
        "alias", "detach", "split_with_sizes",
    }
)  # fmt: skip
_CASTS = frozenset({"to", "_to_copy", "type_as"})


@dataclass(frozen=True)
class Choice:
    """One output of indices: the operator that chose, and what moved its result to the output."""

    output: str
    node: Node
    moves: tuple[Node, ...]  # from the choice to the output

    @property
    def scores(self) -> Node:
        return self.node.all_input_nodes[0]

    @property
    def dim(self) -> int | None:
        return _argument(self.node, "dim", None if _name(self.node) in ("argmax", "argmin") else -1)

    def sizes(self) -> Iterator[Node]:
        """What else the moves depend on."""
        for node in self.moves:
            yield from (other for other in node.all_input_nodes[1:])


class IndexOutputs:
    """`leaves` are the inputs of the program in its own order: names, or constants."""

    def __init__(self, exported: ExportedProgram | None, leaves: Sequence[str | Constant]) -> None:
        self._leaves = leaves
        self._module: GraphModule | None = None
        self._choices: tuple[Choice, ...] = ()
        if exported is not None and any(map(_is_integer, exported_outputs(exported).values())):
            self._module = exported.module(check_guards=False)
            self._choices = tuple(_choices(exported, self._module))

    def scores(self, tensors: Mapping[str, torch.Tensor], oracle: Arrays) -> dict[str, Scores]:
        """What the choices were made from, on these inputs; `oracle` is what the float64 run gave out."""
        if not self._choices:
            return {}
        assert self._module is not None
        own = self._run(tensors, nullcontext())
        wide = self._run(tensors, float64_oracle(self._module, tensors.values()))
        found = {}
        for choice in self._choices:
            scores = _by_row(own[choice.scores], choice.dim), _by_row(wide[choice.scores], choice.dim)
            found[choice.output] = thinned(*scores, to_numpy(_rows(choice, own)), oracle[choice.output])
        return found

    def _run(self, tensors: Mapping[str, torch.Tensor], mode: AbstractContextManager[None]) -> dict[Node, Any]:
        """The choices, what they were made from, and the sizes that their moves need."""
        assert self._module is not None
        wanted = {node for choice in self._choices for node in (choice.scores, choice.node, *choice.sizes())}
        recorder = _Recorder(self._module, wanted)
        flat = [tensors[leaf] if isinstance(leaf, str) else leaf.value for leaf in self._leaves]
        with torch.no_grad(), unchanged(self._module, wanted=True, changed=set()), mode:
            recorder.run(*flat, enable_io_processing=False)
        return recorder.kept


class _Recorder(Interpreter):
    def __init__(self, module: GraphModule, wanted: set[Node]) -> None:
        super().__init__(module)
        self._wanted_nodes = wanted
        self.kept: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n in self._wanted_nodes:
            # A copy: the program may go on and write into it.
            self.kept[n] = result.clone() if isinstance(result, torch.Tensor) else result
        return result


def _choices(exported: ExportedProgram, module: GraphModule) -> Iterator[Choice]:
    kinds = [spec.kind for spec in exported.graph_signature.output_specs]
    tree = exported.call_spec.out_spec
    assert tree is not None
    user = kinds.count(OutputKind.USER_OUTPUT)
    names = {place: name for name, place in output_leaves(pytree.tree_unflatten(list(range(user)), tree))}
    values = pytree.tree_leaves(module.graph.output_node().args[0])
    for place, node in enumerate(values):
        found = _origin(node) if isinstance(node, Node) and _is_integer(node.meta.get("val")) else None
        if found is not None and place in names:
            yield Choice(names[place], *found)


def _origin(node: Node) -> tuple[Node, tuple[Node, ...]] | None:
    """Back through what only moves elements, to the operator that chose; None where something else made them."""
    moves: list[Node] = []
    while True:
        name = _name(node)
        if name in _CHOICES and _CHOICES[name] == _result(moves) and _values(node):
            return node, tuple(reversed(moves))
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        if source is None or not (name in _MOVES or name in _CASTS or node.target is operator.getitem):
            return None
        moves.append(node)
        node = source


def _result(moves: list[Node]) -> int | None:
    """Which result of several is taken; it is not a move, but part of the choice."""
    if moves and moves[-1].target is operator.getitem:
        place = moves.pop().args[1]
        assert isinstance(place, int)
        return place
    return None


def _values(node: Node) -> bool:
    """`max` and `min` of two tensors, or of all elements, choose no index."""
    return _name(node) not in ("max", "min", "median") or _argument(node, "dim", None) is not None


def _name(node: Node) -> str:
    if not isinstance(node.target, torch._ops.OpOverload):
        return ""
    namespace, _, name = node.target._schema.name.partition("::")
    return name if namespace == "aten" else ""


def _argument(node: Node, name: str, otherwise: Any) -> Any:
    assert isinstance(node.target, torch._ops.OpOverload)
    given = dict(zip((argument.name for argument in node.target._schema.arguments), node.args, strict=False))
    return {**given, **node.kwargs}.get(name, otherwise)


def _is_integer(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not (value.is_floating_point() or value.is_complex())


def _by_row(tensor: torch.Tensor, dim: int | None) -> Array:
    """One row for each choice that is made, one column for each candidate."""
    scores = to_numpy(tensor)
    if dim is None or scores.ndim == 0:
        return scores.reshape(1, -1)
    return np.moveaxis(scores, dim, -1).reshape(-1, scores.shape[dim])


def _rows(choice: Choice, values: Mapping[Node, Any]) -> torch.Tensor:
    """For each element of the output the row that it points into: the numbers of the rows, moved as the indices are."""
    scores, result = values[choice.scores], values[choice.node]
    indices = result if isinstance(result, torch.Tensor) else result[1]
    dim = choice.dim
    if dim is None or scores.ndim == 0:
        rows = torch.zeros_like(indices)
    else:
        others = [size for axis, size in enumerate(scores.shape) if axis != dim % scores.ndim]
        rows = torch.arange(indices.new_empty(others).numel()).reshape(others)
        if indices.ndim == scores.ndim:
            rows = rows.unsqueeze(dim).expand(indices.shape)
    moved: Any = rows
    for node in choice.moves:
        if _name(node) not in _CASTS:
            source = node.all_input_nodes[0]
            assert callable(node.target)
            moved = node.target(*_bound(node.args, source, moved, values), **_bound(node.kwargs, source, moved, values))
    return moved


def _bound(arguments: Any, source: Node, moved: Any, values: Mapping[Node, Any]) -> Any:
    return map_arg(arguments, lambda node: moved if node is source else values[node])
