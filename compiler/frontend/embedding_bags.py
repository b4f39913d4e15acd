"""embedding_bag in operators that every target takes.

torch's exporter writes it as a loop over sequences. Bags of one size, which is what a two-dimensional input gives,
are rows of a table reduced along one axis. Bags that start where `offsets` says are a scatter that adds, or takes the
largest: linear in the number of indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import getitem
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

from compiler.frontend.inline import arguments_of, inline

_BAGS = (
    torch.ops.aten.embedding_bag.padding_idx,
    torch.ops.aten.embedding_bag.default,
    torch.ops.aten._embedding_bag.default,
    torch.ops.aten._embedding_bag_forward_only.default,
)
_SUM, _MEAN, _MAX = 0, 1, 2


def replaceable(node: torch.fx.Node) -> bool:
    """All but the first of its results are there for training."""
    return node.target in _BAGS and all(
        user.target is getitem and (user.args[1] == 0 or not user.users) for user in node.users
    )


@dataclass(frozen=True)
class _Bags:
    """The operator's settings."""

    mode: int
    last_offset: bool  # offsets end with the end of the last bag
    padding: int | None  # a row that counts as absent

    def rows(self, weight: torch.Tensor, indices: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
        rows = torch.nn.functional.embedding(indices, weight)
        rows = rows if scale is None else rows * scale.unsqueeze(1)
        if self.padding is None:
            return rows
        absent = float("-inf") if self.mode == _MAX else 0.0
        return torch.where(self.kept(indices).unsqueeze(1), rows, absent)

    def kept(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(indices, dtype=torch.bool) if self.padding is None else indices != self.padding

    def of_one_size(self, weight: torch.Tensor, indices: torch.Tensor, scale: Any, size: Any) -> torch.Tensor:
        rows = self.rows(weight, indices, scale).reshape(-1, size, weight.size(1))
        if self.mode == _MAX:
            result = rows.amax(1)
        elif self.mode == _MEAN and self.padding is None:
            return rows.mean(1)
        else:
            result = rows.sum(1)
        if self.padding is None or self.mode == _SUM:
            return result
        return self._finish(result, self.kept(indices).reshape(-1, size).sum(1))

    def by_offsets(
        self, weight: torch.Tensor, indices: torch.Tensor, scale: Any, offsets: torch.Tensor
    ) -> torch.Tensor:
        offsets, count = offsets.long(), offsets.size(0) - self.last_offset
        # Which bag an index is in: the number of bags that have begun, less one. A bag may begin behind the last index.
        begun = offsets.new_zeros(indices.size(0) + 1).scatter_add(0, offsets, torch.ones_like(offsets))
        bag = begun.cumsum(0)[:-1] - 1
        rows = self.rows(weight, indices, scale)
        places = bag.unsqueeze(1).expand_as(rows)
        into = rows.new_full((offsets.size(0), weight.size(1)), float("-inf") if self.mode == _MAX else 0.0)
        result = into.scatter_reduce(0, places, rows, "amax" if self.mode == _MAX else "sum")
        if self.mode == _SUM:
            return result[:count]
        present = offsets.new_zeros(offsets.size(0)).scatter_add(0, bag, self.kept(indices).to(offsets.dtype))
        return self._finish(result, present)[:count]

    def _finish(self, result: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Means are divided by what is there; a bag without anything is zero."""
        if self.mode == _MEAN:
            return result / present.clamp(min=1).unsqueeze(1).to(result.dtype)
        return torch.where((present == 0).unsqueeze(1), 0.0, result)


def replace(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    given = arguments_of(node)
    weight, indices, offsets, scale = (given[name] for name in ("weight", "indices", "offsets", "per_sample_weights"))
    padding = given.get("padding_idx")
    if padding is not None and padding < 0:
        # To the operator that dispatches it counts from the end; below that, -1 says that there is none.
        padding = padding + weight.meta["val"].shape[0] if node.target is _BAGS[0] else None
    bags = _Bags(int(given["mode"]), bool(given["include_last_offset"]), padding)
    size = _one_size(indices, offsets) if not bags.last_offset else None
    function, last = (bags.by_offsets, offsets) if size is None else (bags.of_one_size, size)
    firsts = [user for user in node.users if user.args[1] == 0]
    inline(graph, function, [weight, indices, scale, last], before=node, instead_of=firsts)


def _one_size(indices: torch.fx.Node, offsets: torch.fx.Node) -> Any:
    """How many indices are in each bag, if the bags begin at 0, size, 2 * size and so on up to the last index."""
    if offsets.target is not torch.ops.aten.arange.start_step:
        return None
    start, end, step = offsets.args
    total, whole = indices.meta["val"].shape[0], _value(end)
    even = statically_known_true(whole == total) and statically_known_true(total % _value(step) == 0)
    return step if start == 0 and even else None


def _value(argument: Any) -> Any:
    return argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument
