"""Operators that torch's exporter has no translation for, written in those that it has."""

from __future__ import annotations

from operator import getitem
from typing import Any

import torch

from compiler.frontend.inline import arguments_of, inline, inline_parts
from compiler.frontend.written_out import (
    bessel,
    elementwise,
    gamma,
    matrices,
    normal,
    ordering,
    scattering,
    statistics,
    windows,
)
from compiler.frontend.written_out.rule import Rules

_ROOMS = (bessel, elementwise, gamma, matrices, normal, ordering, scattering, statistics, windows)
_RULES: Rules = {operator: rule for room in _ROOMS for operator, rule in room.RULES.items()}


def replaceable(node: torch.fx.Node) -> bool:
    rule = _RULES.get(node.target) if callable(node.target) else None
    return rule is not None and _parts_are_taken(node) and rule.applies(node, arguments_of(node))


def _parts_are_taken(node: torch.fx.Node) -> bool:
    return isinstance(node.meta["val"], torch.Tensor) or all(user.target is getitem for user in node.users)


def replace(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    given, nodes = arguments_of(node), node.all_input_nodes
    assert callable(node.target)
    compute = _RULES[node.target].compute

    def computed(*values: Any) -> Any:
        known = dict(zip(nodes, values, strict=True))
        return compute(*torch.fx.map_arg(tuple(given.values()), known.__getitem__))

    if isinstance(node.meta["val"], torch.Tensor):
        inline(graph, computed, list(nodes), before=node, instead_of=[node])
    else:
        inline_parts(graph, computed, list(nodes), node)
