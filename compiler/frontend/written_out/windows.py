"""Windows over space: the largest of each, samples between voxels, and distances between all points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

from compiler.frontend.written_out.rule import Arguments, Rule, Rules, shape_of

_aten = torch.ops.aten

# -- adaptive pooling: one axis after the other, the first of equal elements wins --------------------------------------


def _largest(data: torch.Tensor, sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """With the place of each within the plane, or the volume, that it comes from."""
    spatial = data.shape[-len(sizes) :]
    places = torch.arange(spatial.numel()).reshape(spatial).expand(data.shape)
    for axis in range(-1, -len(sizes) - 1, -1):
        count, size = sizes[axis], data.shape[axis]
        edges = [(step * size // count, -(-(step + 1) * size // count)) for step in range(count)]
        values, chosen = [], []
        for first, end in edges:
            window = data.narrow(axis, first, end - first)
            best = window.argmax(axis, keepdim=True)
            values.append(window.amax(axis, keepdim=True))
            chosen.append(places.narrow(axis, first, end - first).gather(axis, best))
        data, places = torch.cat(values, axis), torch.cat(chosen, axis)
    return data.clone(), places.clone()


def _has_fixed_space(node: torch.fx.Node, given: Arguments) -> bool:
    space = shape_of(given["self"])[-len(given["output_size"]) :]
    return all(isinstance(size, int) and size > 0 for size in (*space, *given["output_size"]))


def _pools_unevenly(node: torch.fx.Node, given: Arguments) -> bool:
    """What goes up evenly the exporter writes as a plain pooling."""
    if not _has_fixed_space(node, given):
        return False
    space = shape_of(given["self"])[-len(given["output_size"]) :]
    return any(size % count for size, count in zip(space, given["output_size"], strict=True))


# -- sampling in three dimensions: ONNX's GridSample does it, OpenVINO's does not ------------------------------

_ZEROS, _BORDER, _REFLECTION = 0, 1, 2
_LINEAR, _NEAREST = 0, 1


def _sampled(data: torch.Tensor, grid: torch.Tensor, mode: int, padding: int, aligned: bool) -> torch.Tensor:
    at = [_voxel(grid[..., axis], data.shape[-1 - axis], padding, aligned) for axis in range(3)]  # x, y, z
    if mode == _NEAREST:
        return _read(data, [place.round() for place in at])
    low = [place.floor() for place in at]
    high_share = [place - floor for place, floor in zip(at, low, strict=True)]
    parts = []
    for corner in product((0, 1), repeat=3):
        share = torch.ones_like(low[0])
        for upper, part in zip(corner, high_share, strict=True):
            share = share * (part if upper else 1 - part)
        values = _read(data, [floor + upper for upper, floor in zip(corner, low, strict=True)])
        parts.append(values * share.unsqueeze(1))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _voxel(place: torch.Tensor, size: int, padding: int, aligned: bool) -> torch.Tensor:
    """From -1..1 to 0..size - 1."""
    place = (place + 1) / 2 * (size - 1) if aligned else ((place + 1) * size - 1) / 2
    if padding == _REFLECTION:
        first, span = (0.0, float(size - 1)) if aligned else (-0.5, float(size))
        if span == 0:
            return torch.zeros_like(place)
        off = (place - first).abs()
        turns = (off / span).floor()
        rest = off - turns * span
        place = torch.where(turns % 2 == 0, rest, span - rest) + first
    return place if padding == _ZEROS else place.clamp(0, size - 1)


def _read(data: torch.Tensor, at: Sequence[torch.Tensor]) -> torch.Tensor:
    """The voxels at x, y, z; 0 outside."""
    batch, channels = data.shape[:2]
    place, inside = torch.zeros_like(at[0]), torch.ones_like(at[0], dtype=torch.bool)
    for axis in (2, 1, 0):
        size = data.shape[-1 - axis]
        inside = inside & (at[axis] >= 0) & (at[axis] <= size - 1)
        place = place * size + at[axis].clamp(0, size - 1)
    flat = data.reshape(batch, channels, -1)
    places = place.to(torch.int64).reshape(batch, 1, -1).expand(batch, channels, -1)
    values = flat.gather(2, places).reshape(batch, channels, *at[0].shape[1:])
    return torch.where(inside.unsqueeze(1), values, torch.zeros_like(values))


def _fixed_volume(node: torch.fx.Node, given: Arguments) -> bool:
    shape = shape_of(given["input"])
    fixed = len(shape) == 5 and all(isinstance(size, int) and size > 0 for size in shape[-3:])
    return fixed and given["interpolation_mode"] in (_LINEAR, _NEAREST)


# -- distances ---------------------------------------------------------------------------------------------------------


def _norm(difference: torch.Tensor, p: float) -> torch.Tensor:
    size = difference.abs()
    if p == 0:
        return (size != 0).to(size.dtype).sum(-1)
    if p == 1:
        return size.sum(-1)
    if p == float("inf"):
        return size.amax(-1)
    return (size * size).sum(-1).sqrt() if p == 2 else (size**p).sum(-1) ** (1 / p)


def _between_all(left: torch.Tensor, right: torch.Tensor, p: float, mode: int | None) -> torch.Tensor:
    return _norm(left.unsqueeze(-2) - right.unsqueeze(-3), p)


def _is_no_product(node: torch.fx.Node, given: Arguments) -> bool:
    """The Euclidean distance between many points is a product of matrices, and the exporter writes it."""
    points = (shape_of(given[name])[-2] for name in ("x1", "x2"))
    few = all(isinstance(count, int) and count <= _FEW for count in points)
    return shape_of(given["x1"])[-1] != 0 and (given["p"] != 2 or (few and given["compute_mode"] != _ALWAYS_A_PRODUCT))


_FEW, _ALWAYS_A_PRODUCT = 25, 1


def _between_pairs(points: torch.Tensor, p: float) -> torch.Tensor:
    """Each with those behind it."""
    count = points.shape[0]
    rows = [
        _norm(points.narrow(0, step + 1, count - step - 1) - points.narrow(0, step, 1), p) for step in range(count - 1)
    ]
    return torch.cat(rows) if rows else points.new_zeros(0)


def _few_points(node: torch.fx.Node, given: Arguments) -> bool:
    count, width = shape_of(given["self"])
    return isinstance(count, int) and count <= _MOST_PAIRED and width != 0


_MOST_PAIRED = 256


# -- the first places that are not 0 -----------------------------------------------------------------------------------


def _first_places(data: torch.Tensor, size: int, fill_value: int) -> torch.Tensor:
    flat = data.reshape(-1)
    count = flat.shape[0]
    places = torch.where(flat != 0, torch.arange(count), torch.full_like(flat, count, dtype=torch.int64))
    places = torch.cat([places, torch.full([size], count)]).sort().values.narrow(0, 0, size)
    columns: list[torch.Tensor] = []
    rest = places
    for length in reversed(data.shape):
        columns.insert(0, rest % length)
        rest = rest // length
    absent = (places == count).unsqueeze(1)
    found = torch.stack(columns, 1) if columns else places.new_zeros(size, 0)
    return torch.where(absent, torch.full_like(found, fill_value), found)


def _has_fixed_count(node: torch.fx.Node, given: Arguments) -> bool:
    shape = shape_of(given["self"])
    return bool(shape) and all(isinstance(size, int) and size > 0 for size in shape) and isinstance(given["size"], int)


RULES: Rules = {
    _aten.adaptive_max_pool1d.default: Rule(_largest, _pools_unevenly),
    _aten.adaptive_max_pool2d.default: Rule(_largest, _pools_unevenly),
    _aten.adaptive_max_pool3d.default: Rule(_largest, _pools_unevenly),
    _aten.cdist.default: Rule(_between_all, _is_no_product),
    _aten.grid_sampler.default: Rule(_sampled, _fixed_volume),
    _aten.grid_sampler_3d.default: Rule(_sampled, _fixed_volume),
    _aten.nonzero_static.default: Rule(_first_places, _has_fixed_count),
    _aten.pdist.default: Rule(_between_pairs, _few_points),
}
