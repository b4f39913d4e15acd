"""Operators that torch's exporter writes otherwise than torch computes them, or so that few runtimes take them.

Each is written in operators that come out right. tests/frontend/test_misexported.py has the case that shows each fault.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from compiler.frontend.inline import arguments_of, inline

_aten = torch.ops.aten


def replaceable(node: torch.fx.Node) -> bool:
    rule = _RULES.get(node.target)
    return rule is not None and rule[0](node, arguments_of(node))


def replace(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    given, nodes = arguments_of(node), node.all_input_nodes
    _, compute = _RULES[node.target]

    def computed(*values: Any) -> torch.Tensor:
        known = dict(zip(nodes, values, strict=True))
        return compute(*torch.fx.map_arg(tuple(given.values()), known.__getitem__))

    inline(graph, computed, list(nodes), before=node, instead_of=[node])


# -- softmax in another type: the exporter converts the result and not what goes in ----------------------------------


def _converts(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    return given["dtype"] not in (None, given["self"].meta["val"].dtype)


def _softmax(data: torch.Tensor, dim: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.softmax(data.to(dtype), dim)


def _log_softmax(data: torch.Tensor, dim: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.log_softmax(data.to(dtype), dim)


# -- average pooling: the exporter forgets a divisor of one's own ----------------------------------------------------


def _divides(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    fixed = all(isinstance(size, int) for size in given["self"].meta["val"].shape[-_spatial(node) :])
    return given["divisor_override"] is not None and (fixed or not given["ceil_mode"])


def _spatial(node: torch.fx.Node) -> int:
    return 3 if node.target is _aten.avg_pool3d.default else 2


def _pooled(dims: int) -> Callable[..., torch.Tensor]:
    def pool(
        data: torch.Tensor,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        ceil: bool,
        counted: bool,
        divisor: int,
    ) -> torch.Tensor:
        kernel, padding = _each(kernel, dims), _each(padding, dims)
        stride = _each(stride, dims) if len(stride) else kernel
        pads: list[int] = []
        for axis in reversed(range(dims)):
            before, size = padding[axis], data.shape[axis - dims] + 2 * padding[axis]
            more = _behind(size, kernel[axis], stride[axis], before) if ceil else 0
            pads += [before, before + more]
        average = (F.avg_pool2d if dims == 2 else F.avg_pool3d)(F.pad(data, pads), kernel, stride)
        return average * (math.prod(kernel) / divisor)

    return pool


def _each(values: Sequence[int], dims: int) -> list[int]:
    return list(values) * dims if len(values) == 1 else list(values)


def _behind(size: int, kernel: int, stride: int, before: int) -> int:
    """What the last window, which begins within the data or before it, reaches over the end."""
    count = -(-(size - kernel) // stride) + 1
    if (count - 1) * stride >= size - before:
        count -= 1
    return max(0, (count - 1) * stride + kernel - size)


# -- adaptive pooling: where an axis is dynamic, the exporter fixes the window to the size that was traced -------------


def _adapts(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    """To a single number it comes out right."""
    sizes = given["output_size"]
    dynamic = any(not isinstance(size, int) for size in given["self"].meta["val"].shape[-len(sizes) :])
    return dynamic and any(size != 1 for size in sizes)


def _adapts_in_space(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    """In three dimensions uneven windows do not come out at all."""
    sizes = given["output_size"]
    space = given["self"].meta["val"].shape[-len(sizes) :]
    fixed = all(isinstance(size, int) and size > 0 for size in space)
    uneven = fixed and any(size % count for size, count in zip(space, sizes, strict=True))
    return uneven or _adapts(node, given)


def _adapted(data: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """One axis after the other: a window's mean is the mean of its rows' means."""
    for axis, count in enumerate(sizes, -len(sizes)):
        size = data.shape[axis]
        windows = [data.narrow(axis, i * size // count, _window(i, size, count)) for i in range(count)]
        data = torch.cat([window.mean(axis, keepdim=True) for window in windows], axis)
    return data


def _window(place: int, size: int, count: int) -> int:
    return ((place + 1) * size + count - 1) // count - place * size // count


# -- padding: OpenVINO has no "wrap" -------------------------------------------------------------------------------


def _goes_round(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    return given["mode"] == "circular" and all(isinstance(amount, int) for amount in given["pad"])


def _circular(data: torch.Tensor, pad: Sequence[int], mode: str, value: float | None) -> torch.Tensor:
    for place, (left, right) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim = data.dim() - 1 - place
        if min(left, right) < 0:
            data = data.narrow(dim, max(-left, 0), data.shape[dim] + min(left, 0) + min(right, 0))
        before = [data.narrow(dim, data.shape[dim] - left, left)] if left > 0 else []
        behind = [data.narrow(dim, 0, right)] if right > 0 else []
        data = torch.cat([*before, data, *behind], dim) if before or behind else data
    return data


# -- the others ------------------------------------------------------------------------------------------------------


def _scatters_some(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    """torch takes of the source what there are indices for; ONNX wants as many of both."""
    return bool(given["src"].meta["val"].shape != given["index"].meta["val"].shape)


def _for_each(index: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    for axis, size in enumerate(index.shape):
        source = source.narrow(axis, 0, size)
    return source


def _scatter(data: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return data.scatter(dim, index, _for_each(index, source))


def _scatter_add(data: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return data.scatter_add(dim, index, _for_each(index, source))


def _reduces_otherwise(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    """The exporter writes a sum where a mean is asked for; whole numbers round down, which is left to it."""
    averages = given["reduce"] == "mean" and node.meta["val"].dtype.is_floating_point
    return averages or _scatters_some(node, given)


def scatter_reduced(
    data: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, reduce: str, include_self: bool
) -> torch.Tensor:
    source = _for_each(index, source)
    if reduce != "mean":
        return data.scatter_reduce(dim, index, source, reduce, include_self=include_self)
    total = data if include_self else torch.zeros_like(data)
    count = torch.ones_like(data) if include_self else torch.zeros_like(data)
    total = total.scatter_add(dim, index, source)
    count = count.scatter_add(dim, index, torch.ones_like(source))
    return total / count if include_self else torch.where(count == 0, data, total / count.clamp(min=1))


def _always(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    return True


def _multiplied(matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Taken apart by torch, it reshapes to the sizes that were traced."""
    return functools.reduce(torch.matmul, matrices)


def _has_no_bias(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    return given["bias"] is None


def _convolved(data: torch.Tensor, weight: torch.Tensor, bias: None, *rest: Any) -> torch.Tensor:
    """The bias that the exporter makes up has two axes."""
    return F.conv3d(data, weight, torch.zeros(weight.shape[0], dtype=weight.dtype), *rest)


def _by_a_size(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    return isinstance(given["other"], torch.fx.Node) and not node.meta["val"].dtype.is_floating_point


def _remainder(data: torch.Tensor, size: int) -> torch.Tensor:
    """The exporter wants a number where a dynamic dim's size stands."""
    return data - torch.div(data, size, rounding_mode="floor") * size


def _may_not_be_square(node: torch.fx.Node, given: dict[str, Any]) -> bool:
    rows, columns = given["self"].meta["val"].shape
    return not (isinstance(rows, int) and isinstance(columns, int) and rows == columns)


def _traced(data: torch.Tensor) -> torch.Tensor:
    """The exporter writes Einsum "ii", which runtimes broadcast where one of the sizes is 1."""
    return torch.diagonal(data).sum()


def _log_sigmoid(data: torch.Tensor) -> torch.Tensor:
    """The logarithm of what was rounded to 1 is 0."""
    return -F.softplus(-data)


def _beside_each_other(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stacks become sequences of tensors, which only onnxruntime takes."""
    parts = [tensor.reshape(1) if tensor.dim() == 0 else tensor for tensor in tensors]
    return torch.cat(parts, 0 if parts[0].dim() == 1 else 1)


def _below_each_other(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(1, -1) if tensor.dim() < 2 else tensor for tensor in tensors], 0)


def _as_columns(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1, 1) if tensor.dim() < 2 else tensor for tensor in tensors], 1)


def _behind_each_other(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    flat = [tensor.reshape(1, -1) if tensor.dim() < 2 else tensor for tensor in tensors]
    return torch.cat([tensor.unsqueeze(-1) if tensor.dim() < 3 else tensor for tensor in flat], 2)


_Applies = Callable[[torch.fx.Node, dict[str, Any]], bool]
_RULES: dict[Any, tuple[_Applies, Callable[..., torch.Tensor]]] = {
    _aten.adaptive_avg_pool1d.default: (_adapts, _adapted),
    _aten.adaptive_avg_pool2d.default: (_adapts, _adapted),
    _aten.adaptive_avg_pool3d.default: (_adapts_in_space, _adapted),
    _aten.avg_pool2d.default: (_divides, _pooled(2)),
    _aten.avg_pool3d.default: (_divides, _pooled(3)),
    _aten.column_stack.default: (_always, _as_columns),
    _aten.conv3d.default: (_has_no_bias, _convolved),
    _aten.conv3d.padding: (_has_no_bias, _convolved),
    _aten.dstack.default: (_always, _behind_each_other),
    _aten.hstack.default: (_always, _beside_each_other),
    _aten.log_sigmoid.default: (_always, _log_sigmoid),
    _aten.linalg_multi_dot.default: (_always, _multiplied),
    _aten.log_softmax.int: (_converts, _log_softmax),
    _aten.pad.default: (_goes_round, _circular),
    _aten.remainder.Scalar: (_by_a_size, _remainder),
    _aten.scatter.src: (_scatters_some, _scatter),
    _aten.scatter_add.default: (_scatters_some, _scatter_add),
    _aten.scatter_reduce.two: (_reduces_otherwise, scatter_reduced),
    _aten.softmax.int: (_converts, _softmax),
    _aten.trace.default: (_may_not_be_square, _traced),
    _aten.vstack.default: (_always, _below_each_other),
}
