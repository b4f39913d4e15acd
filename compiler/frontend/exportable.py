"""Operators that torch's exporter writes badly or wrongly, in others that it writes well."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.frontend import embedding_bags, misexported
from compiler.frontend.inline import inline
from compiler.frontend.written_out import table as written_out


def exportable_graph(exported: ExportedProgram) -> torch.fx.GraphModule | None:
    """The program's graph without such operators, or None if it has none."""
    if not any(replaceable(node) for node in exported.graph.nodes for replaceable, _ in _REPLACED):
        return None
    module = copy.deepcopy(exported.graph_module)
    for replaceable, replace in _REPLACED:
        for node in [node for node in module.graph.nodes if replaceable(node)]:
            replace(module.graph, node)
    module.graph.eliminate_dead_code()
    return module


def _repeats_dynamically(node: torch.fx.Node) -> bool:
    """torch 2.13 puts a number of repeats that is no constant beside the axis that it belongs to."""
    return node.target is torch.ops.aten.repeat_interleave.self_int and isinstance(node.args[1], torch.fx.Node)


def _repeat(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    data, repeats, *rest = node.args
    dim: Any = rest[0] if rest else node.kwargs.get("dim")
    inline(graph, _repeated, [data, repeats, dim], before=node, instead_of=[node])


def _repeated(data: torch.Tensor, repeats: int, dim: int | None) -> torch.Tensor:
    if dim is None:
        data, dim = data.flatten(), 0
    dim %= data.dim()
    sizes = [-1] * (data.dim() + 1)
    sizes[dim + 1] = repeats
    return data.unsqueeze(dim + 1).expand(sizes).flatten(dim, dim + 1)


def _unsqueezes_complex(node: torch.fx.Node) -> bool:
    """torch 2.13 writes a view of complex numbers, and not this special case of one."""
    return node.target is torch.ops.aten.unsqueeze.default and node.meta["val"].dtype.is_complex


def _unsqueeze(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    inline(graph, _with_new_axis, list(node.args), before=node, instead_of=[node])


def _with_new_axis(data: torch.Tensor, dim: int) -> torch.Tensor:
    dim %= data.dim() + 1
    return data.reshape([*data.shape[:dim], 1, *data.shape[dim:]])


def _asks_whether_all_is_true(node: torch.fx.Node) -> bool:
    """What torch's own checks ask, under a private name that torch 2.13 cannot write."""
    return node.target is torch.ops.aten._is_all_true.default


def _ask_in_public(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    inline(graph, torch.all, list(node.args), before=node, instead_of=[node])


def _selects_by_mask(node: torch.fx.Node) -> bool:
    """torch 2.13 writes an index that is a mask, and not this name of it."""
    if node.target is not torch.ops.aten.masked_select.default:
        return False
    shapes = [tensor.meta["val"].shape for tensor in node.all_input_nodes]
    return all(isinstance(size, int) for shape in shapes for size in shape) or shapes[0] == shapes[-1]


def _index_by_mask(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    """Retargeted as it stands: traced anew, the number of elements would be another unknown one."""
    tensors: list[Any] = list(node.args)
    shape = torch.broadcast_shapes(*(tensor.meta["val"].shape for tensor in node.all_input_nodes))
    for place, tensor in enumerate(tensors):
        if tensor.meta["val"].shape != shape:
            with graph.inserting_before(node):
                tensors[place] = graph.call_function(torch.ops.aten.expand.default, (tensor, list(shape)))
            tensors[place].meta = {**node.meta, "val": tensor.meta["val"].expand(shape)}
    node.target, node.args = torch.ops.aten.index.Tensor, (tensors[0], [tensors[1]])


def _branches_to_one_tensor(node: torch.fx.Node) -> bool:
    """A torch.cond that was traced without dynamo; torch 2.13 takes what is no tuple for a list of numbers."""
    return node.target is torch.ops.higher_order.cond and isinstance(node.meta["val"], torch.Tensor)


def _branch_to_a_tuple(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    module = graph.owning_module
    assert module is not None
    for branch in node.args[1:3]:
        assert isinstance(branch, torch.fx.Node)
        output = getattr(module, str(branch.target)).graph.output_node()
        if not isinstance(output.args[0], tuple):  # two decisions may share a branch
            output.args = ((output.args[0],),)
    with graph.inserting_before(node):
        chosen = graph.call_function(torch.ops.higher_order.cond, node.args)
    chosen.meta = {**node.meta, "val": (node.meta["val"],)}
    # The node stays, because the program's signature may know it by its name.
    node.target, node.args = operator.getitem, (chosen, 0)


_REPLACED = (
    (_branches_to_one_tensor, _branch_to_a_tuple),
    (_selects_by_mask, _index_by_mask),
    (embedding_bags.replaceable, embedding_bags.replace),
    (misexported.replaceable, misexported.replace),
    (written_out.replaceable, written_out.replace),
    (_repeats_dynamically, _repeat),
    (_unsqueezes_complex, _unsqueeze),
    (_asks_whether_all_is_true, _ask_in_public),
)
