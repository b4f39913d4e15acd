"""How an operator that torch's exporter cannot write is put in others: plain torch code, and where it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Arguments = Mapping[str, Any]  # of the operator, by the names in its schema; tensors are nodes


def _everywhere(node: torch.fx.Node, given: Arguments) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    compute: Callable[..., Any]  # of all arguments in the order of the schema: a tensor, or a tuple of them
    applies: Callable[[torch.fx.Node, Arguments], bool] = _everywhere


Rules = Mapping[Callable[..., Any], Rule]


def shape_of(node: torch.fx.Node) -> tuple[Any, ...]:
    """Of numbers, and of symbols where a dim is dynamic."""
    return tuple(node.meta["val"].shape)


def fixed_along(name: str = "self", dim: str = "dim") -> Callable[[torch.fx.Node, Arguments], bool]:
    """Where the axis that is worked along has a known length: steps are written out, one after the other."""

    def applies(node: torch.fx.Node, given: Arguments) -> bool:
        shape = shape_of(given[name])
        return not shape or isinstance(shape[given[dim]], int)

    return applies
