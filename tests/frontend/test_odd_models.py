"""Models that are written in unusual ways: the numbers hold, or the error says what to do."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from torch._higher_order_ops.while_loop import while_loop

from compiler.cases import ORDINARY
from compiler.contracts import Source
from compiler.errors import CompileError, PlumblineError
from compiler.frontend.open import open_program
from compiler.frontend.oracle import float64_oracle
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.reference import compute
from compiler.frontend.torch_program import TorchProgram
from compiler.quiet import quiet
from compiler.validate.compare import compare

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")

X = "x:float32[n=1..6,4]"


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def verdict(module: nn.Module, *specs: str) -> bool:
    """Captured, run by onnxruntime as it is, and held against the reference."""
    program = TorchProgram(Source("here", "live", ""), module)
    plan = trace(program, specs or (X,), None, seed=0, effort="quick")
    reference = compute(program, plan, "PyTorch")
    session = onnxruntime.InferenceSession(ir.to_proto(program.capture(24)).SerializeToString())
    names, taken = ([one.name for one in some] for some in (session.get_outputs(), session.get_inputs()))
    answers = [
        dict(zip(names, session.run(None, {name: case.inputs[name] for name in taken}), strict=True))
        for case in reference.cases
    ]
    return compare(reference.cases, answers).passed


class Counts(nn.Module):
    """Writes to one buffer and replaces another."""

    count: torch.Tensor
    last: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("last", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.last = self.last * 2
        return x + self.count + self.last


def test_what_a_model_remembers_is_the_same_at_every_call() -> None:
    module = Counts()
    count, last = module.count, module.last
    assert verdict(module)
    assert module.count is count
    assert module.last is last
    assert (count.dtype, count.item(), last.item()) == (torch.float32, 0, 1)


def test_a_decomposed_program_starts_from_the_same_state_too() -> None:
    with quiet():
        exported = torch.export.export(Counts(), (torch.ones(2, 4),)).run_decompositions()
    program = TorchProgram(Source("here", "pt2", ""), exported=exported)
    x = np.ones((2, 4), np.float32)
    answers = [program.run({"x": x}, precise=precise)["output"] for precise in (False, True, False)]
    assert [answer[0, 0] for answer in answers] == [4, 4, 4]


@pytest.mark.parametrize(("module", "said"), [(Counts(), ["'count' and 1 more"]), (nn.BatchNorm1d(4), [])])
def test_what_is_forgotten_is_told(module: nn.Module, said: list[str]) -> None:
    module.requires_grad_(False)
    program = TorchProgram(Source("here", "live", ""), module)
    name = "input" if isinstance(module, nn.BatchNorm1d) else "x"
    reference = compute(program, trace(program, (X.replace("x:", f"{name}:"),), None, seed=0, effort="quick"), "")
    assert [words for words in reference.notes if "keeps nothing between calls" in words] == list(reference.notes)
    assert len(reference.notes) == len(said)
    assert all(words in note for words, note in zip(said, reference.notes, strict=True))


def write(x: torch.Tensor) -> torch.Tensor:
    x.mul_(2)
    x[:, 0] = 5
    return x + 1


@pytest.mark.parametrize(
    "function",
    [
        write,
        lambda x: (x.t(), x.view(-1, 2), x),
        lambda x: (x.sum(), torch.tensor(3.0), (x > 0).any()),
        lambda x: x[x > 0],
        lambda x: (x, "label", 4, None, True),
        lambda x: {1: x, "a": {"b": (x * 2,)}},
        lambda x: (x, x.shape[0]),
        lambda x: x * x.sum().item(),
        lambda x: torch.vmap(lambda row: row.dot(row))(x),
    ],
    ids=["in place", "views", "no axes", "mask", "constants", "nested", "a size", "item", "vmap"],
)
def test_unusual_results(function: Callable[..., Any]) -> None:
    assert verdict(Function(function))


def test_parts_that_are_shared() -> None:
    layer = nn.Linear(4, 4)
    assert verdict(Function(nn.Sequential(layer, nn.ReLU(), layer)))


@pytest.mark.parametrize(
    "norm",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm],
)
def test_parametrized_weights(norm: Callable[..., nn.Module]) -> None:
    assert verdict(norm(nn.Linear(4, 4)).eval(), "input:float32[n=1..6,4]")


def told(error: pytest.ExceptionInfo[Any]) -> tuple[str, str]:
    return error.value.code, str(error.value.hint)


def test_a_model_that_returns_nothing() -> None:
    with pytest.raises(CompileError) as caught:
        verdict(Function(lambda x: None))
    assert told(caught)[0] == "no-outputs"


def test_dropout_that_never_stops() -> None:
    with pytest.raises(CompileError) as caught:
        verdict(Function(lambda x: nn.functional.dropout(x, 0.5, training=True)))
    assert told(caught)[0] == "training-mode"


class Times(nn.Module):
    def forward(self, x: torch.Tensor, k: int) -> torch.Tensor:
        return x * k


def test_a_scalar_is_asked_for_as_one() -> None:
    with pytest.raises(PlumblineError) as caught:
        verdict(Times())
    assert "--input 'k=VALUE'" in told(caught)[1]
    assert verdict(Times(), X, "k=3")


FACTORY = """
import torch
class Times(torch.nn.Module):
    def forward(self, x, k: int): return x * k
def scalar(): return Times(), ["x:float32[n=1..6,4]", "k=3"]
def hollow(): return torch.nn.Linear(4, 4, device="meta"), ["input:float32[n=1..6,4]"]
"""


def test_a_factory_may_fix_scalars(tmp_path: Any) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    program = open_program(Request(f"{tmp_path / 'net.py'}:scalar"))
    trace(program, (), None, seed=0, effort="quick")
    x = np.ones((2, 4), np.float32)
    assert program.run({"x": x}, precise=False)["output"].tolist() == (3 * x).tolist()


def test_a_factory_that_gives_no_weights(tmp_path: Any) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    with pytest.raises(CompileError) as caught:
        open_program(Request(f"{tmp_path / 'net.py'}:hollow"))
    assert "meta device" in str(caught.value.why)


def rounds(x: torch.Tensor) -> Any:
    return while_loop(lambda y: y.abs().sum() < 100, lambda y: (y * 2 + 1,), (x,))[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y / 3, (x,)),
        lambda x: torch.cond(x.shape[0] > 2, lambda y: y + 1, lambda y: y / 3, (x,)),
        rounds,
    ],
    ids=["data", "size", "while"],
)
def test_control_flow(function: Callable[..., Any]) -> None:
    """Twice: what one compilation leaves behind in dynamo must not stop the next."""
    assert verdict(Function(function))
    assert verdict(Function(function))


def test_control_flow_after_the_oracle_has_seen_it() -> None:
    module = Function(lambda x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y / 3, (x,)))
    x = torch.ones(3, 4)
    with float64_oracle(module, [x]):
        module(x)
    assert verdict(module)


class Chooses(nn.Module):
    """Only a script can keep both of these."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return self.linear(x) / 3
        return x.reshape(x.shape[0], 4) * 2


class Holds(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(x) * 2


class HoldsWithExtras(Holds):
    def forward(self, x: torch.Tensor, **rest: Any) -> torch.Tensor:
        return super().forward(x)


def reloaded(module: nn.Module) -> Any:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    file.seek(0)
    return torch.jit.load(file)


@pytest.mark.parametrize("scripted", [torch.jit.script, reloaded], ids=["scripted", "loaded"])
def test_a_part_that_is_a_script(scripted: Callable[..., nn.Module]) -> None:
    assert verdict(Holds(scripted(Chooses().eval())))


def test_a_script_in_a_module_that_cannot_be_scripted() -> None:
    with pytest.raises(CompileError) as caught:
        verdict(HoldsWithExtras(torch.jit.script(Chooses())))
    assert told(caught)[0] == "capture-failed"
    assert "'part' is TorchScript" in str(caught.value)
    assert "plain nn.Module in place of 'part'" in told(caught)[1]


@pytest.mark.parametrize("scripted", [torch.jit.script, reloaded], ids=["scripted", "loaded"])
def test_the_oracle_raises_the_weights_of_a_part_that_is_a_script(scripted: Callable[..., nn.Module]) -> None:
    linear, x = nn.Linear(4, 4), torch.randn(3, 4)
    module = Holds(scripted(linear))
    with float64_oracle(module, [x]):
        got = module(x)
    assert torch.equal(got, 2 * nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double()))
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_the_graph_so_far_is_not_printed_when_a_branch_stops_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError) as caught:
        verdict(Branches())
    assert told(caught)[0] == "capture-failed"
    assert "def forward" not in "".join(capfd.readouterr())
    cause = caught.value.__cause__
    assert cause is not None
    assert any("def forward" in note for note in cause.__notes__)


class Looping(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return while_loop(lambda y: y.abs().sum() > 1, lambda y: (y / 2,), (x,))[0]


class Halves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool(x.abs().sum() > 1):
            x = x / 2
        return x


@pytest.mark.parametrize("how", ["script", "while_loop"])
def test_a_model_that_might_never_end_is_shown_ordinary_data_only(how: str) -> None:
    """An infinity is as large after a thousand halvings as before."""
    if how == "script":
        module: nn.Module = torch.jit.script(Halves().eval())
    else:
        module = Looping().eval()
    program = TorchProgram(Source("here", "live", ""), module)
    reference = compute(program, trace(program, ("x:float32[4]",), None, seed=0, effort="normal"), "PyTorch")
    assert not reference.edges
    assert {case.kind for case in reference.cases} == {ORDINARY}
    assert "ordinary data only: the model loops as often as its data says, and might never end" in reference.notes
