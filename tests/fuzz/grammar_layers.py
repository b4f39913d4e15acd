"""The grammar's layers: convolution, pooling, norms, resizing, attention, recurrence, and control flow."""

from __future__ import annotations

from collections.abc import Callable

from model_maker import Entry, Maker, image_dims, of_rank, templates
from model_source import Value, fixed, is_fixed

LAYERS = templates(
    """
    F.max_pool1d({signal}, 2)
    F.max_pool1d({signal}, 3, stride=1, padding=1)
    F.max_pool2d({image}, 2)
    F.max_pool2d({image}, 3, stride=2, padding=1)
    F.max_pool2d({image}, 2, ceil_mode=True)
    F.max_pool2d({image}, 2, stride=1, dilation=2)
    F.max_pool3d({volume}, 2)
    F.avg_pool1d({signal}, 2)
    F.avg_pool2d({image}, 2)
    F.avg_pool2d({image}, 3, stride=2, padding=1)
    F.avg_pool2d({image}, 3, stride=1, padding=1, count_include_pad=False)
    F.avg_pool2d({image}, 2, ceil_mode=True)
    F.avg_pool3d({volume}, 2)
    F.lp_pool2d({image}, 2, 2)
    F.adaptive_avg_pool1d({signal}, 1)
    F.adaptive_avg_pool2d({image}, 1)
    F.adaptive_avg_pool2d({image}, (1, 2))
    F.adaptive_max_pool2d({image}, 1)
    F.batch_norm({image}, {channel_1}, torch.abs({channel_2}) + 0.5, {channel_3}, {channel_4})
    F.batch_norm({signal}, {channel_1}, torch.abs({channel_2}) + 0.5)
    F.instance_norm({image})
    F.instance_norm({signal}, weight={channel_1}, bias={channel_2})
    F.group_norm({image}, 2)
    F.group_norm({image}, 2, {channel_1}, {channel_2})
    F.group_norm({signal}, 1, {channel_1}, {channel_2})
    F.layer_norm({rows}, ({size},))
    F.layer_norm({rows}, ({size},), {row_1}, {row_2})
    F.layer_norm({rows}, ({size},), {row_1}, eps=0.01)
    F.layer_norm({rows} + {row_1}, ({size},), {row_2}, {row_3})
    F.rms_norm({rows}, ({size},), {row}, eps=1e-5)
    F.local_response_norm({image}, 3)
    F.interpolate({image}, scale_factor=2)
    F.interpolate({image}, scale_factor=2, mode="bilinear")
    F.interpolate({image}, scale_factor=2, mode="bilinear", align_corners=True)
    F.interpolate({image}, size=(5, 7), mode="bilinear")
    F.interpolate({image}, size=(4, 9))
    F.interpolate({image}, scale_factor=2, mode="bicubic")
    F.interpolate({signal}, scale_factor=2, mode="linear")
    F.interpolate({signal}, scale_factor=2, mode="nearest")
    F.interpolate({volume}, scale_factor=2)
    F.grid_sample({image}, torch.tanh({w_1:1,4,5,2}).expand({image}.shape[0], 4, 5, 2), align_corners={flag})
    F.affine_grid(torch.tanh({x}).sum() * {w_2:1,2,3}, (1, 1, 4, 5), align_corners={flag})
    F.dropout({x}, training=False)
    F.cross_entropy({rows}.reshape(-1, {size}), torch.zeros({rows}.numel() // {size}, dtype=torch.long))
    F.nll_loss(F.log_softmax({rows}.reshape(-1, {size}), -1), torch.ones({rows}.numel() // {size}, dtype=torch.long))
    F.kl_div(F.log_softmax({x}, -1), F.softmax({x} * 0.5, -1), reduction="sum")
    F.scaled_dot_product_attention({signal}, {signal}, {signal})
    F.scaled_dot_product_attention({image}, {image}, {image})
    F.scaled_dot_product_attention({image}, {image}, {image}, is_causal=True)
    F.scaled_dot_product_attention({image}, {image}[:, :, :2], {image}[:, :, :2], scale=0.3)
    torch.softmax({signal} @ {signal}.mT / 2, -1) @ {signal}
    F.silu({rows} @ {w_3:size,8}) * ({rows} @ {w_4:size,8})
    F.gelu(F.linear({rows}, {w_5:12,size}, {w_6:12}))
    {rows} * torch.rsqrt({rows}.pow(2).mean(-1, keepdim=True) + 1e-6) * {row}
    {x} * torch.sigmoid({x})
    {x} * F.relu6({x} + 3) / 6
    0.5 * {x} * (1 + torch.erf({x} / 2 ** 0.5))
    torch.softmax({signal} @ {signal}.mT + torch.triu(torch.full(({channels}, {channels}), -1e9), 1), -1)
    """,
    weight=2,
)


def _convolution(axes: int, *, transposed: bool = False) -> Callable[[Maker], str]:
    def draw(maker: Maker) -> str:
        image = maker.operand("float32", of_rank(axes + 2), dims=image_dims(maker, axes))
        channels = image.dims[1][0]
        groups = maker.pick([g for g in (1, 1, 2, channels) if channels % g == 0])
        width = maker.pick((1, 2, 3))
        into = maker.pick((1, 2, 3)) * groups
        shape = (channels, into // groups) if transposed else (into, channels // groups)
        kernel = maker.constant("float32", (*shape, *(width for _ in range(axes))))
        bias = maker.constant("float32", (into,)) if maker.chance(0.5) else "None"
        options = f"stride={maker.pick((1, 1, 2))}, padding={maker.random.randrange(width)}, groups={groups}"
        name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
        return f"F.{name}({image.name}, {kernel}, {bias}, {options}, dilation={maker.pick((1, 1, 2))})"

    return draw


def _same_convolution(maker: Maker) -> str:
    image = maker.operand("float32", of_rank(4), dims=image_dims(maker, 2))
    kernel = maker.constant("float32", (3, image.dims[1][0], 3, 3))
    return f'F.conv2d({image.name}, {kernel}, padding="same")'


def _normalized_convolution(maker: Maker) -> str:
    """What a convolutional network is made of, with all that is folded into the kernel."""
    image = maker.operand("float32", of_rank(4), dims=image_dims(maker, 2))
    kernel = maker.constant("float32", (4, image.dims[1][0], 3, 3))
    mean, variance, scale, shift = (maker.constant("float32", (4,)) for _ in range(4))
    normed = f"F.batch_norm(F.conv2d({image.name}, {kernel}, padding=1), {mean}, torch.abs({variance}) + 0.5, "
    return f"F.relu({normed}{scale}, {shift}))"


def _sequence(value: Value) -> bool:
    return value.rank == 3 and is_fixed(value.dims[2]) and value.dims[2][0] > 1


def _a_sequence(maker: Maker) -> Value:
    return maker.operand("float32", _sequence, dims=lambda: (fixed(2), maker.named["m"], fixed(maker.pick((4, 6, 8)))))


def _recurrent(kind: str) -> Callable[[Maker], str]:
    def draw(maker: Maker) -> str:
        x = _a_sequence(maker)
        options = f"batch_first={maker.chance(0.5)}, bidirectional={maker.chance(0.3)}"
        layer = maker.layer(f"torch.nn.{kind}, {x.dims[2][0]}, {maker.pick((3, 5))}, {options}")
        return f"{layer}({x.name})[0]"

    return draw


def _attention(maker: Maker) -> str:
    x = _a_sequence(maker)
    heads = maker.pick((1, 2))
    layer = maker.layer(f"torch.nn.MultiheadAttention, {x.dims[2][0]}, {heads}, batch_first=True")
    return f"{layer}({x.name}, {x.name}, {x.name}, need_weights=False)[0]"


def _encoder(maker: Maker) -> str:
    x = _a_sequence(maker)
    options = f"dim_feedforward=8, dropout=0.0, batch_first=True, norm_first={maker.chance(0.5)}"
    layer = maker.layer(f"torch.nn.TransformerEncoderLayer, {x.dims[2][0]}, 2, {options}")
    return f"{layer}({x.name})"


def _masked_attention(maker: Maker) -> str:
    x = _a_sequence(maker)
    length = f"{x.name}.shape[1]"
    mask = f"torch.tril(torch.ones({length}, {length}, dtype=torch.bool))"
    if maker.chance(0.5):
        mask = f"torch.zeros({length}, {length}).masked_fill(~{mask}, -1e4)"
    return f"F.scaled_dot_product_attention({x.name}, {x.name} * 0.5, {x.name} + 1, attn_mask={mask})"


_BRANCHES = (
    "torch.relu(a)", "a * 2", "a - 1", "torch.tanh(a) + a", "torch.softmax(a, -1)", "a.flip(-1)",
    "torch.cumsum(a, -1)", "torch.where(a > 0, a, a * 0.1)", "a - a.mean(-1, keepdim=True)",
)  # fmt: skip


def _cond(maker: Maker) -> str:
    """One of two branches. Sums of numbers as they were drawn are not near zero."""
    x = maker.operand("float32", lambda value: value.rank > 0)
    judge = maker.operand("float32", lambda value: value.noise == 0 and value.rank > 0)
    one, other = maker.random.sample(_BRANCHES, 2)
    return f"torch.cond({judge.name}.sum() > 0, lambda a: {one}, lambda a: {other}, ({x.name},))"


def _cond_of_two(maker: Maker) -> str:
    x = maker.operand("float32", lambda value: value.rank > 0)
    y = maker.operand("float32", lambda value: value.dims == x.dims, dims=lambda: x.dims)
    judge = maker.operand("float32", lambda value: value.noise == 0 and value.rank > 0)
    return (
        f"torch.cond({judge.name}.mean() > 0.1, lambda a, b: a + b * 2, lambda a, b: torch.maximum(a, b), "
        f"({x.name}, {y.name}))"
    )


ENTRIES: list[Entry] = [
    *LAYERS,
    Entry("conv1d", _convolution(1), weight=2),
    Entry("conv2d", _convolution(2), weight=2),
    Entry("conv3d", _convolution(3), weight=2),
    Entry("conv2d, same", _same_convolution, weight=2),
    Entry("conv2d, batch_norm", _normalized_convolution, weight=2),
    Entry("conv_transpose1d", _convolution(1, transposed=True), weight=2),
    Entry("conv_transpose2d", _convolution(2, transposed=True), weight=2),
    Entry("LSTM", _recurrent("LSTM"), weight=2),
    Entry("GRU", _recurrent("GRU"), weight=2),
    Entry("RNN", _recurrent("RNN"), weight=2),
    Entry("MultiheadAttention", _attention, weight=2),
    Entry("TransformerEncoderLayer", _encoder, weight=2),
    Entry("attention, masked", _masked_attention, weight=2),
    Entry("cond", _cond, weight=2),
    Entry("cond of two", _cond_of_two, weight=2),
]
