"""A dim that was declared dynamic stays dynamic over its whole range, or the line that fixed it is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compiler.contracts import Dim, Source
from compiler.errors import CompileError
from compiler.frontend.prepare import trace
from compiler.frontend.recurrent import decomposed, dynamic_recurrence
from compiler.frontend.torch_program import TorchProgram
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import signature_of
from compiler.quiet import quiet


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.kept = nn.ModuleDict(modules)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, **self.kept)


def captured(module: nn.Module, *texts: str) -> TorchProgram:
    program = TorchProgram(Source("", "test", ""), module)
    trace(program, texts, None, seed=0, effort="quick")
    return program


def agrees(module: nn.Module, text: str, *shapes: tuple[int, ...]) -> Any:
    """The captured graph gives PyTorch's own numbers at all of these shapes; the graph's signature is handed back."""
    torch.manual_seed(0)
    program = captured(module, text)
    graph = program.capture(24)
    evaluate = Evaluator(graph, precise=True)
    for shape in shapes:
        inputs = {"x": np.random.default_rng(0).standard_normal(shape, np.float32)}
        want, have = program.run(inputs, precise=True), evaluate(inputs)
        for name in want:
            np.testing.assert_allclose(have[name], want[name], rtol=1e-9, atol=1e-9, err_msg=f"{name} at {shape}")
    return signature_of(graph)


def specialized(function: Callable[..., Any], *texts: str) -> CompileError:
    with pytest.raises(CompileError) as caught:
        captured(Function(function), *texts)
    assert caught.value.code == "dim-specialized"
    return caught.value


def line_of(marker: str) -> str:
    """This file's own line with a marker, as an error names it."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.endswith(f"# {marker}")]
    return f"{__file__}:{number}"


# -- stays dynamic ----------------------------------------------------------------------------------------------


def test_a_batch_of_one_works_though_nobody_traced_it() -> None:
    seen: list[int] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        hint = x.shape[0].node.hint if isinstance(x.shape[0], torch.SymInt) else x.shape[0]
        seen.append(hint)
        return x * 2

    agrees(Function(look), "x:float32[n=1..8,3]", (1, 3), (2, 3), (8, 3))
    assert seen[0] not in (0, 1)


def test_the_users_names_are_in_the_graph() -> None:
    signature = agrees(Function(lambda x: (x + 1, x.sum(1))), "x:float32[batch=1..8,seq=2..9]", (1, 2), (8, 9))
    assert [str(spec) for spec in signature.inputs] == ["x:float32[batch,seq]"]
    assert [str(spec) for spec in signature.outputs] == ["output_0:float32[batch,seq]", "output_1:float32[batch]"]


def test_two_dims_of_equal_range_stay_apart() -> None:
    signature = agrees(
        Function(lambda x: x @ x.transpose(1, 2)),
        "x:float32[2,rows=1..8,columns=1..8]",
        (2, 1, 8),
        (2, 8, 1),
        (2, 3, 5),
    )
    assert str(signature.outputs[0]) == "output:float32[2,rows,rows]"


def test_one_dim_of_two_inputs_is_one() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    graph = captured(Two(), "x:float32[n=1..8,3]", "y:float32[n,1]").capture(24)
    assert [str(spec) for spec in signature_of(graph).inputs] == ["x:float32[n,3]", "y:float32[n,1]"]


def test_multiples_stay_multiples() -> None:
    halve = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 1, 3, stride=2, padding=1))
    module = Function(lambda x, halve: x + nn.functional.interpolate(halve(x), scale_factor=4), halve=halve)
    signature = agrees(module, "x:float32[1,1,h=4*1..8,w=4*1..4]", (1, 1, 4, 4), (1, 1, 32, 16), (1, 1, 12, 8))
    assert len(signature.inputs[0].dims) == 4


def test_a_large_step() -> None:
    module = Function(lambda x, pool: pool(x).flatten(1).mean(1), pool=nn.MaxPool2d(32))
    agrees(module, "x:float32[1,1,h=32*2..16,64]", (1, 1, 64, 64), (1, 1, 96, 64))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_networks_take_any_sequence(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    layers = kind(4, 5, num_layers=2, bidirectional=bidirectional, batch_first=True)  # type: ignore[call-arg]
    module = Function(lambda x, layers: layers(x)[0], layers=layers)
    signature = agrees(module, "x:float32[batch=1..4,seq=2..40,4]", (1, 2, 4), (4, 40, 4), (3, 7, 4))
    width = 10 if bidirectional else 5
    assert str(signature.outputs[0]) == f"output:float32[batch,seq,{width}]"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_follows_a_recurrent_network_sees_no_number_either(kind: type[nn.RNNBase]) -> None:
    layers = kind(4, 5, batch_first=True)  # type: ignore[call-arg]

    def merge(x: torch.Tensor, layers: nn.Module) -> torch.Tensor:
        y, _ = layers(x)
        return (y + y[:, -1:]).reshape(y.shape[0] * y.shape[1], 5).softmax(0) / y.shape[1]

    agrees(Function(merge, layers=layers), "x:float32[batch=1..4,seq=2..40,4]", (1, 2, 4), (4, 40, 4), (3, 7, 4))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_look_for_changed_inputs_fixes_no_sequence(kind: type[nn.RNNBase]) -> None:
    """Constants that forward makes are written to in place, so the program is looked at without in-place operators."""
    layers = kind(4, 5, batch_first=True)  # type: ignore[call-arg]
    module = Function(lambda x, layers: layers(x)[0].index_fill(-1, torch.tensor([0]), 1.5), layers=layers)
    signature = agrees(module, "x:float32[2,seq=1..9,4]", (2, 1, 4), (2, 9, 4))
    assert str(signature.outputs[0]) == "output:float32[2,seq,5]"


def test_decomposing_a_program_leaves_recurrence_alone() -> None:
    layers = nn.LSTM(4, 5, batch_first=True)
    with quiet(), dynamic_recurrence():
        exported = torch.export.export(layers, (torch.ones(2, 3, 4),), dynamic_shapes=({1: torch.export.Dim("seq")},))
        graph = decomposed(exported).graph
    assert [node.target for node in graph.nodes].count(torch.ops.aten.lstm.input) == 1
    taken = next(node for node in graph.nodes if node.target is torch.ops.aten.lstm.input).args[0]
    assert not isinstance(taken.meta["val"].shape[1], int)


def test_attention_over_any_sequence() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    module = Function(lambda x, layer: layer(x), layer=layer)
    agrees(module, "x:float32[batch=1..4,seq=1..16,8]", (1, 1, 8), (4, 16, 8), (2, 5, 8))


def test_a_size_in_the_arithmetic() -> None:
    signature = agrees(
        Function(lambda x: x.reshape(x.shape[0] * x.shape[1]) / x.shape[0]), "x:float32[n=1..8,m=1..4]", (1, 1), (8, 4)
    )
    assert str(signature.outputs[0]) in ("output:float32[n*m]", "output:float32[m*n]")


def test_a_range_that_includes_zero() -> None:
    agrees(Function(lambda x: (x * 2, x.sum(0))), "x:float32[n=0..8,3]", (0, 3), (1, 3), (8, 3))


# -- does not stay dynamic --------------------------------------------------------------------------------------


def test_a_table_of_fixed_length_names_its_line() -> None:
    def add(x: torch.Tensor) -> torch.Tensor:
        return x + torch.ones(5, 3)  # table

    error = specialized(add, "x:float32[n=1..8,3]")
    assert line_of("table") in str(error.where)
    assert "(n=5)" in str(error.hint)


def test_a_comparison_with_a_number_names_its_line() -> None:
    def compare(x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 4:  # compare
            return x + 1
        return x - 1

    error = specialized(compare, "x:float32[n=1..8,3]")
    assert error.where is not None
    assert line_of("compare") in error.where
    assert "n" in error.message


def test_a_size_that_becomes_a_python_number_names_its_line() -> None:
    def number(x: torch.Tensor) -> torch.Tensor:
        return x * int(x.shape[0])  # number

    error = specialized(number, "x:float32[n=1..8,3]")
    assert error.where is not None
    assert line_of("number") in error.where


def test_a_loop_over_a_dim_is_told() -> None:
    def loop(x: torch.Tensor) -> torch.Tensor:
        total = x[0]
        for row in x:
            total = total + row
        return total

    assert specialized(loop, "x:float32[n=2..8,3]").why


def test_a_reshape_that_changes_nothing_at_one_size_says_what_to_write() -> None:
    def reshape(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(7, -1)  # seven

    error = specialized(reshape, "x:float32[n=1..9,7]")
    assert line_of("seven") in str(error.where)
    assert "a range without 7" in str(error.hint)
    assert "x.flatten().reshape" in str(error.hint)
    captured(Function(lambda x: x.flatten().reshape(7, -1)), "x:float32[n=1..9,7]")


def test_a_range_that_holds_is_taken() -> None:
    def compare(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.shape[0] > 4 else x - 1

    agrees(Function(compare), "x:float32[n=5..8,3]", (5, 3), (8, 3))


def fixed_reshape(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(7, -1)  # reshape


def square(x: torch.Tensor) -> torch.Tensor:
    return x + x.T  # square


def decide(x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 0:  # decide
        return x
    return -x


@pytest.mark.parametrize(
    ("function", "text", "line"),
    [
        (fixed_reshape, "x:float32[n=1..8,3]", "reshape"),
        (fixed_reshape, "x:float32[2,3]", "reshape"),
        (square, "x:float32[n=1..8,m=1..8]", "square"),
        (decide, "x:float32[2,3]", "decide"),
    ],
)
def test_what_cannot_be_captured_names_its_line(function: Callable[..., Any], text: str, line: str) -> None:
    with pytest.raises(CompileError) as caught:
        captured(Function(function), text)
    assert caught.value.code == "capture-failed"
    assert line_of(line) in str(caught.value.where)


def test_dims_show_as_they_are_written() -> None:
    assert str(Dim("h", 64, 512, 32)) == "h=32*2..16"
    assert 96 in Dim("h", 64, 512, 32)
    assert not {0, 32, 97, 544} & {size for size in range(600) if size in Dim("h", 64, 512, 32)}
