"""Writing to places of a tensor, and extrema of all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from compiler.frontend.misexported import scatter_reduced
from compiler.frontend.written_out.rule import Arguments, Rule, Rules, shape_of

_aten = torch.ops.aten


def _index_reduce(
    data: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, reduce: str, include_self: bool
) -> torch.Tensor:
    if data.dim() == 0:
        return _index_reduce(data.reshape(1), 0, index, source.reshape(1), reduce, include_self).reshape(())
    shape = [1] * data.dim()
    shape[dim] = -1
    places = index.reshape(shape).expand(source.shape)
    return scatter_reduced(data, dim, places, source, reduce, include_self)


def _scatter_reduce(
    data: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor | float, reduce: str
) -> torch.Tensor:
    source = source if isinstance(source, torch.Tensor) else torch.full_like(index, source, dtype=data.dtype)
    for axis, size in enumerate(index.shape):
        source = source.narrow(axis, 0, size)
    if reduce == "add":
        return data.scatter_add(dim, index, source)
    return data.scatter_reduce(dim, index, source, "prod")


def _put(data: torch.Tensor, index: torch.Tensor, source: torch.Tensor, accumulate: bool) -> torch.Tensor:
    flat, places, values = data.reshape(-1), index.reshape(-1), source.reshape(-1)
    places = torch.where(places < 0, places + flat.shape[0], places)
    flat = flat.scatter_add(0, places, values) if accumulate else flat.scatter(0, places, values)
    return flat.reshape(data.shape)


def _to_places(data: torch.Tensor, places: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return data.reshape(-1).scatter(0, places.reshape(-1), source.reshape(-1)).reshape(data.shape)


def _to_diagonal(data: torch.Tensor, source: torch.Tensor, offset: int, dim1: int, dim2: int) -> torch.Tensor:
    numbered = torch.arange(data.numel()).reshape(data.shape)
    return _to_places(data, numbered.diagonal(offset, dim1, dim2), source)


def _to_strides(
    data: torch.Tensor, source: torch.Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None
) -> torch.Tensor:
    places = torch.full([1] * len(size), offset or 0)
    for axis, (count, step) in enumerate(zip(size, stride, strict=True)):
        places = places + (torch.arange(count) * step).reshape([-1 if at == axis else 1 for at in range(len(size))])
    return _to_places(data, places, source)


def _is_fixed(node: torch.fx.Node, given: Arguments) -> bool:
    return all(isinstance(size, int) for size in shape_of(given["self"]))


def _lies_in_order(node: torch.fx.Node, given: Arguments) -> bool:
    return _is_fixed(node, given) and bool(given["self"].meta["val"].is_contiguous())


# -- operators along an axis of a single number, which has none ------------------------------------------------------


def _is_number(node: torch.fx.Node, given: Arguments) -> bool:
    return not shape_of(given["self"])


def _as_line(operator: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def compute(data: torch.Tensor, dim: int, index: torch.Tensor, *rest: Any) -> torch.Tensor:
        (*sources,) = (value.reshape(1) if isinstance(value, torch.Tensor) else value for value in rest)
        settings = {"alpha": sources.pop()} if len(sources) == 2 else {}
        return operator(data.reshape(1), 0, index.reshape(-1), *sources, **settings).reshape(())

    return compute


# -- extrema of all --------------------------------------------------------------------------------------------------


def _all_dims(data: torch.Tensor) -> list[int]:
    return list(range(data.dim()))


def _amax(data: torch.Tensor, dims: Sequence[int], keepdim: bool) -> torch.Tensor:
    return data.amax(_all_dims(data), keepdim) if data.dim() else data.clone()


def _amin(data: torch.Tensor, dims: Sequence[int], keepdim: bool) -> torch.Tensor:
    return data.amin(_all_dims(data), keepdim) if data.dim() else data.clone()


def _aminmax(data: torch.Tensor, dim: int | None, keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if data.dim() == 0:
        return data.clone(), data.clone()
    dims = _all_dims(data) if dim is None else [dim]
    return data.amin(dims, keepdim), data.amax(dims, keepdim)


def _names_no_dim(node: torch.fx.Node, given: Arguments) -> bool:
    return not given["dim"] or not shape_of(given["self"])


def _names_none(node: torch.fx.Node, given: Arguments) -> bool:
    return given["dim"] is None or not shape_of(given["self"])


def _is_empty(node: torch.fx.Node, given: Arguments) -> bool:
    return 0 in shape_of(node) and all(0 in shape_of(tensor) for tensor in given["tensors"])


def _nothing(tensors: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    sizes = list(max((tensor for tensor in tensors), key=torch.Tensor.dim).shape)
    fitting = [tensor for tensor in tensors if tensor.dim() == len(sizes)]
    if sizes:
        sizes[dim] = sum(tensor.shape[dim] for tensor in fitting)
    return tensors[0].new_zeros(sizes)


RULES: Rules = {
    _aten.amax.default: Rule(_amax, _names_no_dim),
    _aten.amin.default: Rule(_amin, _names_no_dim),
    _aten.aminmax.default: Rule(_aminmax, _names_none),
    _aten.as_strided_scatter.default: Rule(_to_strides, _lies_in_order),
    _aten.cat.default: Rule(_nothing, _is_empty),
    _aten.diagonal_scatter.default: Rule(_to_diagonal, _is_fixed),
    _aten.index_add.default: Rule(_as_line(torch.index_add), _is_number),
    _aten.index_copy.default: Rule(_as_line(torch.index_copy), _is_number),
    _aten.index_reduce.default: Rule(_index_reduce),
    _aten.index_select.default: Rule(_as_line(torch.index_select), _is_number),
    _aten.put.default: Rule(_put),
    _aten.scatter.reduce: Rule(_scatter_reduce),
    _aten.scatter.value_reduce: Rule(_scatter_reduce),
}
