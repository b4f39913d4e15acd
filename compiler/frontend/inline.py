"""Plain torch code in place of nodes of an exported program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._guards import detect_fake_mode
from torch.fx.experimental.proxy_tensor import make_fx


def arguments_of(node: torch.fx.Node) -> dict[str, Any]:
    """All arguments of an operator by their names in its schema, defaults with them."""
    operator = node.target
    assert isinstance(operator, torch._ops.OpOverload)
    arguments = operator._schema.arguments
    given: dict[str, Any] = {
        argument.name: argument.default_value if argument.has_default_value() else None for argument in arguments
    }
    return given | dict(zip(given, node.args, strict=False)) | node.kwargs


def inline(
    graph: torch.fx.Graph,
    function: Callable[..., torch.Tensor],
    arguments: list[Any],
    *,
    before: torch.fx.Node,
    instead_of: Iterable[torch.fx.Node],
) -> None:
    """Trace `function` on these arguments, nodes and constants; `instead_of` then give what it returns."""
    result = _traced_into(graph, function, arguments, before)
    assert isinstance(result, torch.fx.Node)
    for node in instead_of:
        _become(node, result)


def inline_parts(
    graph: torch.fx.Graph, function: Callable[..., tuple[torch.Tensor, ...]], arguments: list[Any], node: torch.fx.Node
) -> None:
    """The same for a node with several results, whose users each take one of them."""
    results = _traced_into(graph, function, arguments, node)
    for user in list(node.users):
        _become(user, results[user.args[1]])


def _become(node: torch.fx.Node, result: torch.fx.Node) -> None:
    """The node stays, because the program's signature may know it by its name."""
    node.target, node.args, node.kwargs, node.meta = result.target, result.args, result.kwargs, result.meta


def _traced_into(
    graph: torch.fx.Graph, function: Callable[..., Any], arguments: list[Any], before: torch.fx.Node
) -> Any:
    nodes = [argument for argument in arguments if isinstance(argument, torch.fx.Node)]

    def of_nodes(*values: Any) -> Any:
        known = dict(zip(nodes, values, strict=True))
        return function(*(known.get(argument, argument) for argument in arguments))

    values = [node.meta["val"] for node in nodes]
    fake = detect_fake_mode(values)
    assert fake is not None
    with fake, torch.no_grad():
        traced = make_fx(of_nodes, pre_dispatch=True)(*values)
    copies: dict[torch.fx.Node, Any] = dict(zip(traced.graph.find_nodes(op="placeholder"), nodes, strict=True))
    with graph.inserting_before(before):
        result = graph.graph_copy(traced.graph, copies)
    for inner, made in copies.items():
        if inner.op == "call_function":  # a check of torch's own has no value
            made.meta = {**before.meta, **({"val": inner.meta["val"]} if "val" in inner.meta else {})}
    return result
