"""How flat named tensors become the arguments of a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from compiler.frontend.naming import named_leaves


@dataclass(frozen=True)
class Constant:
    """A Python scalar that is part of the call but no tensor input."""

    value: Any


@dataclass(frozen=True)
class Call:
    """How flat named tensors become (args, kwargs): a pytree whose leaves are names or constants."""

    leaves: tuple[str | Constant, ...]
    tree: pytree.TreeSpec

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        leaves, tree = pytree.tree_flatten((args, kwargs))
        return cls(tuple(leaves), tree)

    def bind(self, values: Mapping[str, Any], constant: Callable[[Any], Any] = lambda value: value) -> Any:
        leaves = [values[leaf] if isinstance(leaf, str) else constant(leaf.value) for leaf in self.leaves]
        return pytree.tree_unflatten(leaves, self.tree)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, str))


def spelled_out(module: torch.nn.Module, names: Iterable[str]) -> torch.nn.Module:
    """A module whose forward has parameters of these names for `**more`, in which torch.export knows no dims."""
    parameters = inspect.signature(module.forward).parameters
    unnamed = [name for name in names if name not in parameters]
    if not unnamed:
        return module

    class SpelledOut(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.inner(*args, **kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    kept = [parameter for parameter in parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in unnamed]
    SpelledOut.forward.__signature__ = inspect.Signature([own, *kept, *added])  # type: ignore[attr-defined]
    return SpelledOut().eval()


def call_of(exported: ExportedProgram) -> Call:
    """Names of an ExportedProgram's flat inputs: the argument's path where it has one, else its node's name."""
    nodes = exported.graph_signature.user_inputs
    tree = exported.call_spec.in_spec
    assert tree is not None
    paths = dict.fromkeys(range(len(nodes)), "")
    _, kwargs = pytree.tree_unflatten(list(range(len(nodes))), tree)
    paths |= {index: path for path, index in named_leaves(kwargs)}
    leaves = [(paths[index] or node) if isinstance(node, str) else Constant(node) for index, node in enumerate(nodes)]
    return Call(tuple(leaves), tree)
