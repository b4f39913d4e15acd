"""The float64 yardstick: as good as .double() where that is pure, and better where it is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiler.frontend.naming import tensor_outputs
from compiler.frontend.oracle import float64_oracle


def oracle(module: nn.Module, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad(), float64_oracle(module, inputs):
        return tensor_outputs(module(*inputs))


def plain(module: nn.Module, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return tensor_outputs(module(*inputs))


def double(module: nn.Module, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs]
    return plain(copy.deepcopy(module).double(), *wide)


def far(have: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> float:
    """The largest relative error of any element of any output."""
    assert list(have) == list(want)
    return max(
        float(((have[name].double() - want[name].double()).abs() / want[name].double().abs().clamp(min=1e-3)).max())
        for name in want
    )


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(x).reshape(2, 5, 3, 4, 4).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)


class Embed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.bag = nn.EmbeddingBag(9, 4, mode="mean")

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).softmax(-1).sum(1) + self.bag(ids)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


PURE: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8)), randn(5, 16)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), randn(2, 3, 9, 9)),
    "transposed convolution": (lambda: nn.ConvTranspose1d(3, 4, 3, stride=2), randn(2, 3, 7)),
    "pooling": (lambda: nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)), randn(1, 2, 12, 12)),
    "lstm": (lambda: nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True), randn(3, 5, 6)),
    "gru": (lambda: nn.GRU(6, 8, bidirectional=True), randn(5, 3, 6)),
    "rnn": (lambda: nn.RNN(6, 8), randn(5, 3, 6)),
    "attention": (Attention, randn(2, 5, 16)),
    "transformer layer": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), randn(2, 5, 16)),
    "group norm": (lambda: nn.GroupNorm(2, 8), randn(2, 8, 5)),
    "layer norm": (lambda: nn.LayerNorm(8), randn(4, 8)),
    "instance norm": (lambda: nn.InstanceNorm1d(4, affine=True), randn(2, 4, 6)),
    "embedding": (Embed, torch.arange(9).reshape(3, 3)),
    "upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), randn(1, 2, 5, 5)),
}


@pytest.mark.parametrize("name", PURE)
def test_it_agrees_with_double_where_that_is_pure(name: str) -> None:
    torch.manual_seed(0)
    make, x = PURE[name]
    module = make().eval()
    exact = double(module, x)
    assert far(oracle(module, x), exact) < 1e-12
    assert {tensor.dtype for tensor in oracle(module, x).values()} == {torch.float64}
    assert far(plain(module, x), exact) > 1e-9 or name == "pooling"


class Casts(nn.Module):
    """What many transformers do: parts of them insist on float32."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.how == "to":
            return torch.exp(x.to(torch.float32)).to(x.dtype)
        if self.how == "float":
            return x.float().pow(2).mean(-1, keepdim=True).rsqrt() * x
        if self.how == "softmax dtype":
            return F.softmax(x, dim=-1, dtype=torch.float32).type_as(x)
        if self.how == "type_as":
            return torch.tanh(x).type_as(torch.zeros(1, dtype=torch.float32))
        if self.how == "fresh tensor":
            return x * torch.arange(16, dtype=torch.float32).add(0.1).sqrt()
        if self.how == "scalar tensor":
            return x / torch.tensor(3.0, dtype=torch.float32)
        if self.how == "sum dtype":
            return x.sum(-1, dtype=torch.float32)
        if self.how == "numpy-like constructor":
            return x + torch.linspace(0, 1, 16, dtype=torch.float32)
        if self.how == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.layer(x).float()
        raise AssertionError(self.how)


HOWS = [
    "to",
    "float",
    "softmax dtype",
    "type_as",
    "fresh tensor",
    "scalar tensor",
    "sum dtype",
    "numpy-like constructor",
]


def by_hand(how: str, module: Casts, x: torch.Tensor) -> torch.Tensor:
    weight, bias = module.layer.weight.double(), module.layer.bias.double()
    y = x.double() @ weight.T + bias
    return {
        "to": lambda: torch.exp(y),
        "float": lambda: y.pow(2).mean(-1, keepdim=True).rsqrt() * y,
        "softmax dtype": lambda: torch.softmax(y, -1),
        "type_as": lambda: torch.tanh(y),
        "fresh tensor": lambda: y * (torch.arange(16).double() + 0.1).sqrt(),
        "scalar tensor": lambda: y / 3.0,
        "sum dtype": lambda: y.sum(-1),
        "numpy-like constructor": lambda: y + torch.linspace(0, 1, 16, dtype=torch.float64),
    }[how]()


@pytest.mark.parametrize("how", HOWS)
def test_a_cast_to_float32_inside_does_not_spoil_it(how: str) -> None:
    torch.manual_seed(0)
    module, x = Casts(how).eval(), randn(4, 16)
    with torch.no_grad():
        exact = {"output": by_hand(how, module, x)}
    assert far(oracle(module, x), exact) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_raised_as_a_whole(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).to(dtype).eval()
    x = randn(4, 16).to(dtype)
    assert far(oracle(module, x), double(module, x)) < 1e-12
    assert far(plain(module, x), double(module, x)) > 1e-4


def test_a_part_in_half_precision_is_raised_as_well() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 4).half()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).half()).float()

    torch.manual_seed(0)
    module, x = Mixed().eval(), randn(4, 16)
    with torch.no_grad():
        inner = x.double() @ module.first.weight.double().T + module.first.bias.double()
        exact = inner @ module.second.weight.double().T + module.second.bias.double()
    assert far(oracle(module, x), {"output": exact}) < 1e-12


class Counting(nn.Module):
    """Writes to its buffer and reads it again."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.full((4,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.state.mul_(0.5).add_(x.sum(0))
        return x + self.state


def test_a_write_to_a_buffer_is_seen_and_forgotten() -> None:
    module, x = Counting().eval(), randn(3, 4)
    exact = {"output": x.double() + (torch.full((4,), 0.1).double() * 0.5 + x.double().sum(0))}
    before = module.state.clone()
    assert far(oracle(module, x), exact) < 1e-12
    assert torch.equal(module.state, before)
    assert module.state.dtype == torch.float32


IN_PLACE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "zeros": lambda x: torch.zeros(4, 3).copy_(x).mul_(x),
    "row by row": lambda x: _rows(x, torch.zeros(4, 3)),
    "zeros_like": lambda x: _rows(x, torch.zeros_like(x)),
    "new_zeros": lambda x: _rows(x, x.new_zeros(4, 3)),
    "empty": lambda x: _rows(x, torch.empty(4, 3)),
    "scatter": lambda x: torch.zeros(4, 3).scatter_(0, torch.zeros(4, 3, dtype=torch.int64), x / 3).add_(x),
    "masked": lambda x: (x / 3).masked_fill_(x > 0, 0.1),
    "index put": lambda x: torch.zeros(9, 3).index_put_((torch.tensor([1, 1, 2, 3]),), x / 3, accumulate=True),
    "view": lambda x: _through_view(x),
    "out": lambda x: torch.add(x / 3, x / 7, out=torch.empty(4, 3)),
}


def _rows(x: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
    for row in range(4):
        into[row] = x[row] / 3
    return into


def _through_view(x: torch.Tensor) -> torch.Tensor:
    whole = x / 3
    whole[:, 0].div_(7)
    return whole


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_write_in_place_is_as_precise_as_any_other(name: str) -> None:
    x = randn(4, 3)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        exact = {"output": IN_PLACE[name](x.double())}
    finally:
        torch.set_default_dtype(before)
    assert far(oracle(Function(IN_PLACE[name]), x), exact) < 1e-12


def test_a_write_to_an_input_does_not_reach_the_caller() -> None:
    x = randn(4, 3)
    before = x.clone()
    oracle(Function(lambda x: x.mul_(2) / 3), x)
    assert torch.equal(x, before)


def test_both_sides_of_a_cond_are_raised() -> None:
    module = Function(lambda x: torch.cond(x.sum() > 0, lambda x: x / 3, lambda x: x / 7, (x,)))
    for x, part in ((torch.ones(4), 3), (-torch.ones(4), 7)):
        assert far(oracle(module, x), {"output": x.double() / part}) < 1e-12


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            x = x / 3
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return x


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_is_raised_and_handed_back_as_it_was(how: str) -> None:
    torch.manual_seed(0)
    module, x = Scripted().eval(), randn(3, 4).abs()
    compiled = torch.jit.script(module) if how == "scripted" else torch.jit.trace(module, x)
    assert far(oracle(compiled, x), double(module, x)) < 1e-12
    assert {weight.dtype for weight in compiled.parameters()} == {torch.float32}
    assert far(plain(compiled, x), plain(module, x)) < 1e-5


def test_an_exported_program_is_raised() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 3)).eval(), randn(2, 16)
    exported = torch.export.export(module, (x,)).module(check_guards=False)
    assert far(oracle(exported, x), double(module, x)) < 1e-12


def test_integers_and_truth_values_stay_what_they_are() -> None:
    outputs = oracle(Function(lambda x: (x.argmax(), x > 0, x.to(torch.int32))), randn(5))
    assert [tensor.dtype for tensor in outputs.values()] == [torch.int64, torch.bool, torch.int32]


def test_complex_numbers_are_raised() -> None:
    x = randn(8)
    outputs = oracle(Function(lambda x: torch.view_as_real(torch.fft.fft(x))), x)
    assert far(outputs, {"output": torch.view_as_real(torch.fft.fft(x.double()))}) < 1e-9
    assert outputs["output"].dtype == torch.float64


def test_a_question_about_the_dtype_is_answered_as_the_oracle_computes() -> None:
    """`torch.finfo(x.dtype).min` as a mask must be what the mask is compared with."""
    outputs = oracle(Function(lambda x: x + torch.finfo(x.dtype).eps), torch.zeros(1))
    assert float(outputs["output"]) == np.finfo(np.float64).eps


def test_pytorch_is_left_as_it_was_also_after_an_error() -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    onednn = torch.backends.mkldnn.enabled
    with pytest.raises(ZeroDivisionError):
        oracle(Function(fail), randn(1))
    assert torch.get_default_dtype() == torch.float32
    assert torch.backends.mkldnn.enabled == onednn
    assert (torch.ones(1) / 3).dtype == torch.float32
