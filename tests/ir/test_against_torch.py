"""Kernels in float64 against PyTorch's own layers in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from graphs import compute, parse
from torch import nn
from torch.nn import functional as F

from compiler.ir.evaluate import Evaluator

RNG = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def agree(have: np.ndarray, want: torch.Tensor) -> None:
    np.testing.assert_allclose(have, want.detach().numpy(), rtol=1e-11, atol=1e-13)


def t(array: np.ndarray | None) -> Any:
    return None if array is None else torch.from_numpy(array)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"groups": 4, "stride": 2}],
)
def test_convolution(rank: int, options: dict[str, int]) -> None:
    x, bias = normal(2, 4, *(9, 8, 7)[:rank]), normal(8)
    weight = normal(8, 4 // options.get("groups", 1), *(3, 2, 3)[:rank])
    want = getattr(F, f"conv{rank}d")(t(x), t(weight), t(bias), **options)
    have = compute("Conv", x, weight, bias, **_spatial(rank, **options))
    agree(have, want)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2, "dilation": 2}]
)
def test_transposed_convolution(rank: int, options: dict[str, int]) -> None:
    x, bias = normal(2, 4, *(5, 4, 3)[:rank]), normal(6 * options.get("groups", 1))
    weight = normal(4, 6, *(3, 2, 3)[:rank])
    want = getattr(F, f"conv_transpose{rank}d")(t(x), t(weight), t(bias), **options)
    agree(compute("ConvTranspose", x, weight, bias, **_spatial(rank, **options)), want)


def _spatial(
    rank: int, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1, output_padding: int | None = None
) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "strides": [stride] * rank,
        "pads": [padding] * 2 * rank,
        "dilations": [dilation] * rank,
        "group": groups,
    }
    return attributes if output_padding is None else {**attributes, "output_padding": [output_padding] * rank}


def test_pointwise_convolution_with_stride() -> None:
    x, weight, bias = normal(2, 4, 7, 7), normal(5, 4, 1, 1), normal(5)
    agree(compute("Conv", x, weight, bias, strides=[2, 2]), F.conv2d(t(x), t(weight), t(bias), stride=2))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("include", [False, True])
def test_average_pool(ceil: bool, include: bool) -> None:
    x = normal(2, 3, 10, 9)
    want = F.avg_pool2d(t(x), 3, 2, 1, ceil_mode=ceil, count_include_pad=include)
    have = compute(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=ceil, count_include_pad=include
    )
    agree(have, want)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pool(ceil: bool, dilation: int) -> None:
    x = normal(2, 3, 11, 10)
    want, places = F.max_pool2d(t(x), 3, 2, 1, dilation=dilation, ceil_mode=ceil, return_indices=True)
    attributes = {"strides": [2, 2], "pads": [1] * 4, "dilations": [dilation] * 2, "ceil_mode": ceil}
    have, indices = compute("MaxPool", x, outputs=2, kernel_shape=[3, 3], **attributes)
    agree(have, want)
    planes = np.arange(6).reshape(2, 3, 1, 1) * 110
    assert (indices == places.numpy() + planes).all()
    agree(compute("MaxPool", x, kernel_shape=[3, 3], **attributes), want)


def test_normalizations() -> None:
    x, scale, bias, mean, variance = normal(2, 6, 5), normal(6), normal(6), normal(6), np.abs(normal(6))
    batch = F.batch_norm(t(x), t(mean), t(variance), t(scale), t(bias), eps=0.5)
    agree(compute("BatchNormalization", x, scale, bias, mean, variance, epsilon=0.5), batch)
    agree(
        compute("InstanceNormalization", x, scale, bias, epsilon=0.5),
        F.instance_norm(t(x), None, None, t(scale), t(bias), eps=0.5),
    )
    agree(
        compute("GroupNormalization", x, scale, bias, num_groups=3, epsilon=0.5),
        F.group_norm(t(x), 3, t(scale), t(bias), eps=0.5),
    )
    wide, weight, shift = normal(3, 4, 5), normal(4, 5), normal(4, 5)
    layer = F.layer_norm(t(wide), (4, 5), t(weight), t(shift), eps=0.5)
    agree(compute("LayerNormalization", wide, weight, shift, axis=1, epsilon=0.5), layer)
    agree(
        compute("RMSNormalization", wide, weight, axis=1, epsilon=0.5), F.rms_norm(t(wide), (4, 5), t(weight), eps=0.5)
    )
    image = normal(2, 7, 3, 3)
    attributes = {"size": 5, "alpha": 0.5, "beta": 0.75, "bias": 2.0}
    agree(compute("LRN", image, **attributes), F.local_response_norm(t(image), 5, alpha=0.5, beta=0.75, k=2.0))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent(kind: str, bidirectional: bool, batch_first: bool) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, kind)(3, 4, bidirectional=bidirectional, batch_first=batch_first).double()
    directions = 2 if bidirectional else 1
    x, h, c = normal(5, 2, 3), normal(directions, 2, 4), normal(directions, 2, 4)
    state = (t(h), t(c)) if kind == "LSTM" else t(h)
    want, ends = layer(t(x).transpose(0, 1) if batch_first else t(x), state)
    given = (lambda array: array.swapaxes(0, 1)) if batch_first else (lambda array: array)
    inputs = [given(x), *_weights(layer, kind, directions), None, given(h)]
    attributes = {
        "direction": "bidirectional" if bidirectional else "forward",
        "layout": int(batch_first),
        "hidden_size": 4,
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    results = compute(
        kind, *inputs, *([given(c)] if kind == "LSTM" else []), outputs=3 if kind == "LSTM" else 2, **attributes
    )
    y = results[0] if batch_first else results[0].transpose(0, 2, 1, 3)
    agree(y.reshape(*y.shape[:2], -1), want)
    for have, end in zip(results[1:], ends if kind == "LSTM" else (ends,), strict=True):
        agree(given(have), end)


ORDERS = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}  # ONNX's gates in PyTorch's order


def _weights(layer: nn.Module, kind: str, directions: int) -> list[np.ndarray]:
    def gates(name: str) -> np.ndarray:
        blocks = getattr(layer, name).detach().numpy().reshape(len(ORDERS[kind]), 4, -1)
        return blocks[ORDERS[kind]].reshape(len(ORDERS[kind]) * 4, -1)

    suffixes = ("_l0", "_l0_reverse")[:directions]
    w = np.stack([gates(f"weight_ih{suffix}") for suffix in suffixes])
    r = np.stack([gates(f"weight_hh{suffix}") for suffix in suffixes])
    b = np.stack([np.concatenate([gates(f"bias_ih{suffix}"), gates(f"bias_hh{suffix}")])[:, 0] for suffix in suffixes])
    return [w, r, b]


def test_sequences_of_different_lengths() -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(3, 4, bidirectional=True).double()
    x, lengths = normal(5, 3, 3), [5, 2, 4]
    packed = nn.utils.rnn.pack_padded_sequence(t(x), lengths, enforce_sorted=False)
    outputs, (h, c) = layer(packed)
    want, _ = nn.utils.rnn.pad_packed_sequence(outputs)
    inputs = [x, *_weights(layer, "LSTM", 2), np.array(lengths, np.int32)]
    y, last_h, last_c = compute("LSTM", *inputs, outputs=3, direction="bidirectional", hidden_size=4)
    agree(y.transpose(0, 2, 1, 3).reshape(5, 3, 8), want)
    agree(last_h, h)
    agree(last_c, c)


@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_attention(heads: int, mask: str | None) -> None:
    q, k, v = normal(2, 4, 5, 8), normal(2, heads, 5, 8), normal(2, heads, 5, 6)
    given = {"bool": RNG.random((2, 1, 5, 5)) > 0.3, "float": normal(5, 5)}.get(mask or "")
    if mask == "bool":
        given[..., 0] = True
    causal = mask == "causal"
    want = F.scaled_dot_product_attention(t(q), t(k), t(v), t(given), is_causal=causal, enable_gqa=heads != 4)
    agree(compute("Attention", q, k, v, given, is_causal=int(causal)), want)


def test_attention_with_three_dimensions_a_scale_and_a_past() -> None:
    q, k, v = normal(2, 3, 8), normal(2, 3, 8), normal(2, 3, 8)
    past_k, past_v = normal(2, 2, 4, 4), normal(2, 2, 4, 4)
    y, key, value, _ = compute(
        "Attention", q, k, v, None, past_k, past_v, outputs=4, q_num_heads=2, kv_num_heads=2, scale=0.5, is_causal=1
    )
    heads = [t(array).reshape(2, 3, 2, 4).transpose(1, 2) for array in (q, k, v)]
    keys, values = torch.cat([t(past_k), heads[1]], 2), torch.cat([t(past_v), heads[2]], 2)
    mask = torch.ones(3, 7, dtype=torch.bool).tril(4)  # a query sees all of the past
    want = F.scaled_dot_product_attention(heads[0], keys, values, mask, scale=0.5)
    agree(y, want.transpose(1, 2).reshape(2, 3, 8))
    agree(key, keys)
    agree(value, values)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    x = normal(100) * 5
    agree(compute("Gelu", x, approximate=approximate), F.gelu(t(x), approximate=approximate))


@pytest.mark.parametrize("size", [(4, 13), (9, 5), (1, 1), (14, 12)])
@pytest.mark.parametrize(
    ("mode", "corners"),
    [("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True), ("nearest", False)],
)
def test_resize(mode: str, corners: bool, size: tuple[int, int]) -> None:
    x = normal(1, 2, 7, 6)
    options = {} if mode == "nearest" else {"align_corners": corners}
    want = F.interpolate(t(x), size, mode=mode, **options)
    asked = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    transform = "align_corners" if corners else "asymmetric" if mode == "nearest" else "pytorch_half_pixel"
    sizes = np.array([1, 2, *size])
    attributes = {
        "mode": asked,
        "coordinate_transformation_mode": transform,
        "nearest_mode": "floor",
        "cubic_coeff_a": -0.75,
    }
    have = compute("Resize", x, None, None, sizes, **attributes)
    if size == (1, 1) and not corners and mode != "nearest":
        return  # where ONNX takes the first element PyTorch takes the middle
    agree(have, want)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(mode: str, padding: str) -> None:
    x, grid = normal(2, 3, 5, 6), RNG.uniform(-1.3, 1.3, (2, 4, 4, 2))
    names = {"linear": "bilinear", "cubic": "bicubic"}
    want = F.grid_sample(t(x), t(grid), names.get(mode, mode), padding, align_corners=False)
    agree(compute("GridSample", x, grid, mode=mode, padding_mode=padding), want)


def test_a_chain_of_layers_as_a_graph() -> None:
    """A whole graph in float64 although it is written in float32, with weights that are float32 numbers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(-1))
    names = {"w": "0.weight", "b": "0.bias", "s": "1.weight", "o": "1.bias", "v": "3.weight", "c": "3.bias"}
    graph = parse(
        """
        (float[n,6] x, float[8,6] w, float[8] b, float[8] s, float[8] o, float[3,8] v, float[3] c) => (float[n,3] y) {
          g = Gemm<transB = 1>(x, w, b)
          l = LayerNormalization(g, s, o)
          a = Gelu(l)
          h = Gemm<transB = 1>(a, v, c)
          y = Softmax(h)
        }
        """
    )
    weights = {name: model.state_dict()[path].numpy() for name, path in names.items()}
    x = normal(4, 6).astype(np.float32)
    have = Evaluator(graph, precise=True)({"x": x, **weights})["y"]
    # PyTorch's epsilon is the float64 number 1e-5; the graph holds a float32.
    np.testing.assert_allclose(have, model.double()(t(x).double()).detach().numpy(), rtol=1e-10)
    assert isinstance(graph, ir.Model)
