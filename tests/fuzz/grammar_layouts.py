"""The grammar's moving of numbers: shapes, slices, joining, indexing, scattering."""

from __future__ import annotations

from collections.abc import Callable

from model_maker import Entry, Maker, templates
from model_source import Noise, Value, fixed, is_fixed

SHAPES = templates(
    """
    {x}.flatten()
    {x}.flatten(0, {axis})
    {x}.reshape(-1)
    {x}.reshape(1, *{x}.shape)
    {x}.reshape(*{x}.shape, 1)
    {x}.contiguous().view(-1, 1)
    {matrix}.reshape({matrix}.shape[0], -1)
    {matrix}.reshape(-1, {matrix}.shape[-1])
    {matrix}.transpose(0, {axis})
    {matrix}.transpose(-1, -2)
    {matrix}.swapaxes(0, -1)
    {matrix}.mT
    {matrix}.movedim(0, {axis})
    {image}.permute(0, 2, 3, 1)
    {image}.permute(3, 1, 0, 2)
    {image}.flatten(2).transpose(1, 2)
    {signal}.permute(2, 0, 1)
    {x}.unsqueeze({axis})
    {x}.unsqueeze(0).unsqueeze(-1)
    {x}.unsqueeze({axis}).squeeze({axis})
    {x}.unsqueeze(0).expand(3, *{x}.shape)
    {x}.unsqueeze(-1).expand(*{x}.shape, 2)
    {x}[..., :1].expand_as({x})
    torch.broadcast_to({x}, (2, *{x}.shape))
    {x}.repeat(2, *([1] * {x}.dim()))
    {x}.repeat(*([1] * ({x}.dim() - 1)), 2)
    torch.tile({x}, (2,))
    torch.repeat_interleave({x}, 2, dim={axis})
    torch.flip({x}, ({axis},))
    torch.roll({x}, {shift}, {axis})
    torch.roll({x}, {shift})
    torch.rot90({matrix}, 1, (0, 1))
    torch.fliplr({matrix})
    torch.tril({matrix})
    torch.triu({matrix}, {shift})
    torch.tril({matrix}, {shift})
    torch.diagonal({matrix}, 0, -2, -1)
    torch.diag_embed({x})
    torch.ravel({x})
    torch.atleast_2d({x})
    {rows}.unflatten(-1, (2, -1))
    {rows}.view(*{rows}.shape[:-1], 2, {size} // 2)
    {x}.clone()
    {x}.detach()
    {i}.flatten()
    {i}.unsqueeze({axis})
    {b}.unsqueeze(0)
    {i}.transpose(0, {axis})
    F.pixel_shuffle({image}.repeat(1, 4, 1, 1), 2)
    F.pixel_unshuffle({image}[:, :, :4, :4], 2)
    F.channel_shuffle({image}, 2)
    F.unfold({image}, 2)
    {x}.unfold(-1, 1, 1)
    {rows}.unfold(-1, 2, 1)
    torch.zeros_like({x}) + {x}
    """,
    moves=True,
)

SLICES = templates(
    """
    {x}[0]
    {x}[-1]
    {x}[..., 0]
    {matrix}[:, None]
    {x}[..., 1:]
    {x}[..., :-1]
    {x}[1:]
    {x}[::2]
    {x}[..., ::2]
    {x}[..., -3:]
    {x}[:{few}]
    {x}.select({axis}, 0)
    {x}.narrow({axis}, 0, 1)
    torch.split({rows}, 2, -1)
    torch.split({rows}, [1, {size} - 1], -1)
    torch.chunk({rows}, 2, -1)
    torch.tensor_split({rows}, 2, -1)
    torch.unbind({rows}[..., :2], -1)
    torch.chunk({image}, 2, 1)
    F.pad({x}, (1, 2))
    F.pad({x}, (0, 1), value={number})
    F.pad({rows}, (-1, 2))
    F.pad({image}, (1, 0, 2, 1))
    F.pad({image}, (1, 1, 1, 1), mode="reflect")
    F.pad({image}, (1, 2, 0, 1), mode="replicate")
    F.pad({signal}, (1, 1), mode="circular")
    F.pad({signal}, (2, 1), mode="reflect")
    torch.slice_scatter({x}, {x}[..., :1] * 2, -1, 0, 1)
    torch.select_scatter({x}, {x}.select({axis}, 0), {axis}, 0)
    torch.diagonal_scatter({matrix}, torch.zeros_like(torch.diagonal({matrix})))
    torch.cat([{x}, {x}], {axis})
    torch.cat([{x}, {x}[..., :1]], -1)
    torch.stack([{x}, {x}], {axis})
    torch.hstack([{x}, {x}])
    torch.vstack([{x}, {x}])
    torch.dstack([{x}, {x}])
    torch.cat([{i}, {i} + 1], {axis})
    torch.cartesian_prod({x}.flatten()[:2], {x}.flatten()[:3])
    torch.meshgrid({x}.flatten()[:2], {x}.flatten(), indexing="ij")
    torch.index_select({x}, {axis}, torch.tensor([0]))
    {x}[..., torch.tensor([0, -1])]
    {x}.index_fill({axis}, torch.tensor([0]), {number})
    {x}.take(torch.tensor([0, 1]))
    """,
    moves=True,
)

MADE = templates("""
    torch.arange({x}.shape[0])
    torch.arange({x}.shape[-1], dtype=torch.float32)
    torch.arange(0, {x}.shape[0] * 2, 2)
    torch.zeros({x}.shape[0], 3)
    torch.ones_like({x})
    torch.zeros_like({x})
    torch.full_like({x}, {number})
    torch.full(({x}.shape[0], 2), {number})
    {x}.new_zeros(2, {x}.shape[-1])
    {x}.new_ones({x}.shape)
    {x}.new_full((2, {x}.shape[0]), {number})
    {x} + torch.arange({x}.shape[-1])
    {x} * {x}.shape[0]
    {x} / {x}.shape[-1]
    torch.linspace(0, 1, {few}) + {x}.sum()
    {rows}[..., :1, :1] + torch.eye({size})
    torch.scalar_tensor({number}) * {x}
    torch.tril(torch.ones({x}.shape[0], {x}.shape[0], dtype=torch.bool))
    torch.arange({x}.shape[-1])[None, :] < torch.arange({x}.shape[-1])[:, None]
    {x}.masked_fill(torch.arange({x}.shape[-1]) > 2, {number})
    torch.tensor({number}) + {x}
""")


def _whole(maker: Maker) -> tuple[Value, int]:
    """A float operand and one of its axes."""
    value = maker.operand("float32", lambda value: value.rank > 0)
    return value, maker.random.randrange(value.rank)


def _below(maker: Maker, value: Value, axis: int) -> str:
    """Integers that are indices along this axis, of the operand's shape: computed, so that nobody knows them before."""
    numbers = maker.operand("float32", lambda other: other.dims == value.dims, Noise.DRAWN, dims=lambda: value.dims)
    return f"(torch.abs({numbers.name}) * 5).long() % {value.name}.shape[{axis}]"


def _indexed(text: str) -> Callable[[Maker], str]:
    """A template of an operand x, an axis and an index of the operand's shape."""

    def draw(maker: Maker) -> str:
        value, axis = _whole(maker)
        index = _below(maker, value, axis)
        return text.format(x=value.name, axis=axis, index=index)

    return draw


def _rows_by_index(text: str) -> Callable[[Maker], str]:
    """A template of an operand x and a row of indices along its first axis."""

    def draw(maker: Maker) -> str:
        value = maker.operand("float32", lambda value: value.rank > 1)
        numbers = maker.operand(
            "float32", lambda other: other.rank == 1, Noise.DRAWN, dims=lambda: maker.any_dims(1, 1)
        )
        index = f"(torch.abs({numbers.name}) * 5).long() % {value.name}.shape[0]"
        return text.format(x=value.name, index=index)

    return draw


def _embedding(maker: Maker) -> str:
    ids = maker.input("int64", maker.any_dims(1, 2))
    maker.used.append(ids)
    table = maker.constant("float32", (11, maker.pick((4, 6))))
    return f"F.embedding({ids.name}, {table})"


def _index_put(maker: Maker) -> str:
    value = maker.operand("float32", lambda value: value.rank > 1 and is_fixed(value.dims[0]) and value.dims[0][0] > 1)
    accumulate = maker.chance(0.5)
    return f"torch.index_put({value.name}, (torch.tensor([0, 1]),), {value.name}[:2] * 2, accumulate={accumulate})"


def _concatenated(maker: Maker) -> str:
    """Two values that differ along the axis at most."""
    one = maker.operand("float32", lambda value: value.rank > 0)
    axis = maker.random.randrange(one.rank)
    rest = (*one.dims[:axis], *one.dims[axis + 1 :])
    size = maker.named["m"] if maker.named["m"] not in one.dims else fixed(2)
    other = maker.operand(
        "float32",
        lambda value: value.rank == one.rank and (*value.dims[:axis], *value.dims[axis + 1 :]) == rest,
        dims=lambda: (*one.dims[:axis], size, *one.dims[axis + 1 :]),
    )
    return f"torch.cat([{one.name}, {other.name}], {axis})"


def _stacked(maker: Maker) -> str:
    one = maker.operand("float32", lambda value: value.rank > 0)
    other = maker.operand("float32", lambda value: value.dims == one.dims, dims=lambda: one.dims)
    return f"torch.stack([{one.name}, {other.name}], {maker.random.randint(-1, one.rank)})"


_INDEXING = {
    "torch.gather({x}, {axis}, {index})": _indexed,
    "torch.take_along_dim({x}, {index}, {axis})": _indexed,
    "torch.scatter({x}, {axis}, ({index}) * 0, 1.5)": _indexed,
    "torch.index_select({x}, 0, {index})": _rows_by_index,
    "{x}[{index}]": _rows_by_index,
    "{x}[{index}, 0]": _rows_by_index,
}
_SUMS = {
    "torch.scatter_add({x}, {axis}, {index}, {x})": _indexed,
    'torch.scatter_reduce({x}, {axis}, {index}, {x}, "sum")': _indexed,
    'torch.scatter_reduce({x}, {axis}, {index}, {x}, "amax")': _indexed,
    'torch.scatter_reduce({x}, {axis}, {index}, {x}, "amin", include_self=False)': _indexed,
    'torch.scatter_reduce({x}, {axis}, {index}, {x}, "mean")': _indexed,
    "torch.index_add({x}, 0, {index}, {x}[{index}])": _rows_by_index,
}

INDEXING = [
    *(Entry(text, made(text), moves=True) for text, made in _INDEXING.items()),
    *(Entry(text, made(text)) for text, made in _SUMS.items()),
    Entry("embedding", _embedding, moves=True),
    Entry("index_put", _index_put),
    Entry("cat", _concatenated, moves=True),
    Entry("stack", _stacked, moves=True),
]

ENTRIES: list[Entry] = [*SHAPES, *SLICES, *MADE, *INDEXING]
