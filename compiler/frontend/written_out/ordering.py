"""Orders, running products and extrema, and places within sorted data."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.frontend.written_out.rule import Arguments, Rule, Rules, fixed_along

_aten = torch.ops.aten
_Pair = tuple[torch.Tensor, torch.Tensor]

# -- sorting: what the exporter writes for any sort, ONNX's TopK, is stable ------------------------------------------


def _sort(data: torch.Tensor, stable: bool | None, dim: int, descending: bool) -> _Pair:
    found = torch.sort(data, dim, descending)
    return found.values, found.indices


def _argsort(data: torch.Tensor, stable: bool, dim: int, descending: bool) -> torch.Tensor:
    return torch.sort(data, dim, descending).indices


def _kth(data: torch.Tensor, k: int, dim: int, keepdim: bool) -> _Pair:
    if data.dim() == 0:
        return data.clone(), torch.zeros_like(data, dtype=torch.int64)
    smallest = torch.topk(data, k, dim, largest=False)
    values, places = (part.narrow(dim, k - 1, 1) for part in smallest)
    return (values.clone(), places.clone()) if keepdim else (values.squeeze(dim), places.squeeze(dim))


def _median(data: torch.Tensor, dim: int, keepdim: bool) -> _Pair:
    """The lower of the two in the middle; a NaN is the median wherever there is one."""
    if data.dim() == 0:
        return data.clone(), torch.zeros_like(data, dtype=torch.int64)
    values, places = _kth(data, (data.shape[dim] + 1) // 2, dim, keepdim)
    unknown = data.isnan()
    first = unknown.to(torch.int64).argmax(dim, keepdim)
    some = unknown.any(dim, keepdim)
    return torch.where(some, torch.full_like(values, float("nan")), values), torch.where(some, first, places)


def _nanmedian(data: torch.Tensor, dim: int, keepdim: bool) -> _Pair:
    if data.dim() == 0:
        return data.clone(), torch.zeros_like(data, dtype=torch.int64)
    unknown = data.isnan()
    ordered = torch.sort(torch.where(unknown, torch.full_like(data, float("inf")), data), dim)
    count = unknown.logical_not().to(torch.int64).sum(dim, keepdim=True)
    middle = ((count - 1) // 2).clamp(min=0)
    values, places = (part.gather(dim, middle) for part in ordered)
    values = torch.where(count == 0, torch.full_like(values, float("nan")), values)
    return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))


def _of_all(median: Callable[[torch.Tensor, int, bool], _Pair]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda data: median(data.reshape(-1), 0, False)[0]


def _mode(data: torch.Tensor, dim: int, keepdim: bool) -> _Pair:
    """The smallest of the values that stand there most often, where it stands last."""
    if data.dim() == 0:
        return data.clone(), torch.zeros_like(data, dtype=torch.int64)
    lines = data.movedim(dim, -1)
    often = (lines.unsqueeze(-1) == lines.unsqueeze(-2)).to(torch.int64).sum(-1)
    most = often == often.amax(-1, keepdim=True)
    values = torch.where(most, lines, torch.full_like(lines, float("inf"))).amin(-1, keepdim=True)
    counted = torch.arange(lines.shape[-1])
    places = torch.where(lines == values, counted, torch.zeros_like(counted)).amax(-1, keepdim=True)
    parts = values.movedim(-1, dim), places.movedim(-1, dim)
    return parts if keepdim else (parts[0].squeeze(dim), parts[1].squeeze(dim))


# -- running along an axis: what is known of 1, 2, 4, ... elements is joined to that of as many before them ----------


def _running_product(data: torch.Tensor, dim: int, dtype: torch.dtype | None) -> torch.Tensor:
    data = data.to(dtype or data.dtype)
    reach, size = 1, data.shape[dim] if data.dim() else 1
    while reach < size:
        joined = data.narrow(dim, reach, size - reach) * data.narrow(dim, 0, size - reach)
        data, reach = torch.cat([data.narrow(dim, 0, reach), joined], dim), 2 * reach
    return data.clone()


def _running(larger: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor, int], _Pair]:
    """The last of equal values counts, and a NaN stays."""

    def run(data: torch.Tensor, dim: int) -> _Pair:
        if data.dim() == 0:
            return data.clone(), torch.zeros_like(data, dtype=torch.int64)
        reach, size = 1, data.shape[dim]
        counted = torch.arange(size).reshape([-1 if axis == dim % data.dim() else 1 for axis in range(data.dim())])
        places = counted.expand(data.shape)
        while reach < size:
            here, there = data.narrow(dim, reach, size - reach), data.narrow(dim, 0, size - reach)
            keeps = larger(here, there) | here.isnan()
            values = torch.where(keeps, here, there)
            at = torch.where(keeps, places.narrow(dim, reach, size - reach), places.narrow(dim, 0, size - reach))
            data = torch.cat([data.narrow(dim, 0, reach), values], dim)
            places = torch.cat([places.narrow(dim, 0, reach), at], dim)
            reach *= 2
        return data.clone(), places.clone()

    return run


# -- places within sorted data: how many are below; nothing is below a NaN's place but everything --------------------


def _places(bounds: torch.Tensor, data: torch.Tensor, behind_equals: bool, int32: bool) -> torch.Tensor:
    data = data.unsqueeze(-1)
    bounds = bounds if bounds.dim() == 1 else bounds.unsqueeze(-2)
    above = bounds > data if behind_equals else bounds >= data
    count = above.logical_not().to(torch.int64).sum(-1)
    return count.to(torch.int32) if int32 else count


def _search(
    bounds: torch.Tensor, data: torch.Tensor, int32: bool, right: bool, side: str | None, sorter: None
) -> torch.Tensor:
    return _places(bounds, data, right or side == "right", int32)


def _bucketize(data: torch.Tensor, bounds: torch.Tensor, int32: bool, right: bool) -> torch.Tensor:
    return _places(bounds, data, right, int32)


def _has_no_sorter(node: torch.fx.Node, given: Arguments) -> bool:
    return given["sorter"] is None


RULES: Rules = {
    _aten.argsort.stable: Rule(_argsort),
    _aten.bucketize.Tensor: Rule(_bucketize),
    _aten.cummax.default: Rule(_running(torch.ge), fixed_along()),
    _aten.cummin.default: Rule(_running(torch.le), fixed_along()),
    _aten.cumprod.default: Rule(_running_product, fixed_along()),
    _aten.kthvalue.default: Rule(_kth),
    _aten.median.default: Rule(_of_all(_median)),
    _aten.median.dim: Rule(_median),
    _aten.mode.default: Rule(_mode),
    _aten.nanmedian.default: Rule(_of_all(_nanmedian)),
    _aten.nanmedian.dim: Rule(_nanmedian),
    _aten.searchsorted.Tensor: Rule(_search, _has_no_sorter),
    _aten.sort.stable: Rule(_sort),
}
