"""Which outputs are indices by value, and what they were chosen from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compiler.cases import Case, Scores
from compiler.contracts import Array
from compiler.frontend.index_outputs import IndexOutputs
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.reference import compute
from compiler.validate.compare import compare


class Of(torch.nn.Module):
    def __init__(self, body: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.1))
        self.body = body

    def forward(self, x: torch.Tensor) -> object:
        return self.body(x * self.scale)


def case_of(model: torch.nn.Module | str) -> Case:
    program = open_program(Request(model))
    plan = trace(program, ("x:float32[n=3..5,6,4]",), None, seed=0, effort="quick")
    return compute(program, plan, "PyTorch").cases[0]


def values_at(scores: Scores, index: Array) -> Array:
    """The score that each element of the output points at."""
    found = np.empty(index.shape)
    for place, row in np.ndenumerate(scores.row):
        part = slice(scores.starts[row], scores.starts[row + 1])
        (at,) = np.flatnonzero(scores.index[part] == index[place])
        found[place] = scores.values[part][at]
    return found


# The choice, and the values that it points at, in the same places.
CHOICES: dict[str, Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]] = {
    "argmax": lambda x: (x.argmax(-1), x.amax(-1)),
    "argmax in the middle": lambda x: (x.argmax(1), x.amax(1)),
    "argmax kept": lambda x: (x.argmax(1, keepdim=True), x.amax(1, keepdim=True)),
    "argmax of all": lambda x: (x.argmax(), x.amax()),
    "argmin": lambda x: (x.argmin(0), x.amin(0)),
    "max": lambda x: (x.max(dim=1).indices, x.amax(1)),
    "min": lambda x: (x.min(dim=-1, keepdim=True)[1], x.amin(-1, keepdim=True)),
    "topk": lambda x: (x.topk(3, dim=1).indices, x.topk(3, dim=1).values),
    "sort": lambda x: (x.sort(dim=0).indices, x.sort(dim=0).values),
    "argsort": lambda x: (x.argsort(descending=True), x.sort(descending=True).values),
    "kthvalue": lambda x: (x.kthvalue(2, dim=1).indices, x.kthvalue(2, dim=1).values),
    "as int32": lambda x: (x.argmax(-1).to(torch.int32), x.amax(-1)),
    "flattened": lambda x: (x.argmax(-1).reshape(-1), x.amax(-1).reshape(-1)),
    "by a size": lambda x: (x.argmax(-1).view(x.shape[0] * 2, -1), x.amax(-1).view(x.shape[0] * 2, -1)),
    "moved": lambda x: (x.topk(3).indices.permute(2, 0, 1), x.topk(3).values.permute(2, 0, 1)),
    "one of them": lambda x: (x.topk(3).indices[..., 1], x.topk(3).values[..., 1]),
    "some of them": lambda x: (x.argsort(dim=1)[:, 1:3], x.sort(dim=1).values[:, 1:3]),
    "taken apart": lambda x: (x.argmax(-1).unbind(1)[2], x.amax(-1).unbind(1)[2]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_each_index_comes_with_what_it_was_chosen_from(name: str) -> None:
    def body(x: torch.Tensor) -> dict[str, torch.Tensor]:
        ids, values = CHOICES[name](x)
        return {"ids": ids, "values": values}

    case = case_of(Of(body))
    assert list(case.scores) == ["ids"]
    assert case.scores["ids"].row.shape == case.outputs["ids"].shape
    np.testing.assert_array_equal(values_at(case.scores["ids"], case.oracle["ids"]), case.oracle["values"])


NO_CHOICES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "counted from one": lambda x: x.argmax(-1) + 1,
    "of both": lambda x: torch.cat([x.argmax(-1), x.argmin(-1)]),
    "a comparison": lambda x: x > 0,
    "a rounding": lambda x: x.round().to(torch.int64),
    "a float": lambda x: x.argmax(-1).to(torch.float32),
    "a value": lambda x: x.to(torch.int64).amax(-1),
    "a larger one": lambda x: torch.max(x.to(torch.int64), torch.ones_like(x, dtype=torch.int64)),
    "the k-th largest whole number": lambda x: x.to(torch.int64).topk(2).values,
}


@pytest.mark.parametrize("name", NO_CHOICES)
def test_everything_else_stays_exact(name: str) -> None:
    assert not case_of(Of(lambda x: {"y": NO_CHOICES[name](x)})).scores


def test_a_model_without_whole_numbers_is_not_run_again() -> None:
    exported = torch.export.export(Of(torch.relu), (torch.ones(3, 6, 4),))
    found = IndexOutputs(exported, ("x",))
    assert found.scores({}, {}) == {}


def test_a_tie_may_go_either_way_and_nothing_else() -> None:
    def body(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, 0], x[:, 0]], dim=-1).argmax(-1)

    case = case_of(Of(body))
    (name,) = case.outputs
    first = case.outputs[name]
    assert compare([case], [{name: first + np.where(first < 4, 4, -4)}]).passed
    assert not compare([case], [{name: (first + 1) % 8}]).passed


def graph(nodes: str, output: str) -> onnx.ModelProto:
    text = f'<ir_version: 10, opset_import: ["" : 21]> g (float[n, 6, 4] x) => ({output}) {{ {nodes} }}'
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize(
    ("nodes", "output"),
    [
        ("y = ArgMax <axis = 1, keepdims = 0> (x)", "int64[n, 4] y"),
        ("y = ArgMin <axis = -1> (x)", "int64[n, 6, 1] y"),
        (
            "k = Constant <value_ints = [2]> ()  t, i = TopK <axis = 1> (x, k)  j = Transpose <perm = [2, 0, 1]> (i) "
            "y = Cast <to = 6> (j)",
            "int32[4, n, 2] y",
        ),
    ],
)
def test_an_onnx_file_is_looked_into_as_well(nodes: str, output: str, tmp_path: Path) -> None:
    onnx.save(graph(nodes, output), tmp_path / "model.onnx")
    case = case_of(str(tmp_path / "model.onnx"))
    assert list(case.scores) == ["y"]
    assert case.scores["y"].row.shape == case.outputs["y"].shape
    assert compare([case], [case.outputs]).passed
    wrong = {**case.outputs, "y": case.outputs["y"] + 1}
    assert not compare([case], [wrong]).passed
