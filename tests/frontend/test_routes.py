"""Every kind of input, from the file to a verified bundle, and which way it went."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim, export

import compiler
from compiler.api import Result
from compiler.errors import CompileError, UsageError

pytestmark = pytest.mark.filterwarnings(
    # What torch says about its own older formats is not about us.
    "ignore:.*torch.jit.*is deprecated.*:DeprecationWarning",
)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.dropout, self.down = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.dropout(torch.relu(self.up(x))))


class Branching(nn.Module):
    """Only a script can keep its `if` and its loop."""

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            x = x * 2
        for _ in range(int(times)):
            x = torch.tanh(x) + 0.5
        return x


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    parts: tuple[torch.Tensor, torch.Tensor]
    hidden: torch.Tensor | None = None


torch.utils._pytree.register_dataclass(Answer)
torch.utils._pytree._register_namedtuple(Pair, serialized_type_name="test_routes.Pair")

FACTORY = """\
import torch
from torch import nn

class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.dropout, self.down = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        return self.down(self.dropout(torch.relu(self.up(x))))

def build():
    return Mlp()

def build_with_specs():
    return Mlp(), ["x:float32[batch=1..4,6]"]

def build_with_example():
    return Mlp(), (torch.ones(2, 6),)
"""

SPEC = "x:float32[batch=1..4,6]"


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    (tmp_path / "mlp.py").write_text(FACTORY)
    return tmp_path / "mlp.py"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "build"


def compiled(model: Any, inputs: Any = None, *, out: Path, **more: Any) -> Result:
    result = compiler.compile(model, inputs, target="onnxruntime", output=out, **more)
    assert result.verdict.status == "passed", result.verdict.worst
    return result


def route(result: Result) -> tuple[str, str]:
    return result.manifest["source"]["format"], result.manifest["source"]["route"]


def computes(result: Result, module: nn.Module, *inputs: torch.Tensor) -> None:
    """The bundle gives what the module gives, on data of our own."""
    names = [spec["name"] for spec in result.manifest["artifact"]["signature"]["inputs"]]
    with torch.no_grad():
        want = module.eval()(*inputs)
    with result.session() as session:
        (have,) = session(dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))).values()
    np.testing.assert_allclose(have, want.numpy(), rtol=1e-5, atol=1e-6)


def dims(result: Result) -> list[str]:
    from compiler.report.words import dims as shown

    return [shown(spec["dims"]) for spec in result.manifest["artifact"]["signature"]["inputs"]]


# -- exported programs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_exported_program(tmp_path: Path, out: Path, dynamic: bool) -> None:
    shapes = {"x": {0: Dim("n", min=1, max=4)}} if dynamic else None
    torch.export.save(export(Mlp().eval(), (torch.ones(2, 6),), dynamic_shapes=shapes), tmp_path / "mlp.pt2")
    result = compiled(tmp_path / "mlp.pt2", out=out)
    assert route(result) == ("pt2", "ExportedProgram")
    assert "the file's own inputs" in result.manifest["reference"]["cases"]
    assert dims(result) == (["[dim0=1..4, 6]"] if dynamic else ["[2, 6]"])
    computes(result, Mlp(), torch.randn(3 if dynamic else 2, 6))


def test_an_exported_program_may_be_asked_for_less_than_it_allows(tmp_path: Path, out: Path) -> None:
    exported = export(Mlp().eval(), (torch.ones(2, 6),), dynamic_shapes={"x": {0: Dim("n", min=1, max=64)}})
    torch.export.save(exported, tmp_path / "mlp.pt2")
    assert dims(compiled(tmp_path / "mlp.pt2", ["x:float32[batch=2..8,6]"], out=out)) == ["[batch=2..8, 6]"]
    with pytest.raises(UsageError, match="asks for more"):
        compiled(tmp_path / "mlp.pt2", ["x:float32[batch=2..128,6]"], out=out)


class Nested(nn.Module):
    def forward(self, x: torch.Tensor, cache: list[Any], *, pair: Pair) -> Any:
        return {"sum": x + cache[0]["key"] - pair.left, "rest": (pair.right * 2, cache[1])}


@pytest.mark.parametrize("saved", [True, False])
def test_an_exported_program_with_nested_inputs(tmp_path: Path, out: Path, saved: bool) -> None:
    ones = torch.ones(2)
    exported: Any = export(Nested(), (ones, [{"key": 2 * ones}, 3 * ones]), {"pair": Pair(4 * ones, 5 * ones)})
    if saved:
        torch.export.save(exported, tmp_path / "nested.pt2")
        exported = tmp_path / "nested.pt2"
        with pytest.raises(CompileError, match="could run code"):  # its examples name a class of ours
            compiled(exported, out=out)
    result = compiled(exported, out=out, trust=True)
    signature = result.manifest["artifact"]["signature"]
    assert [spec["name"] for spec in signature["inputs"]] == ["x", "cache_0_key", "cache_1", "pair.left", "pair.right"]
    assert [spec["name"] for spec in signature["outputs"]] == ["sum", "rest.0", "rest.1"]


def test_an_exported_program_with_positional_arguments_of_one_name(out: Path) -> None:
    class Sub(nn.Module):
        def forward(self, input: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return input - other

    result = compiled(export(Sub(), (torch.ones(2), torch.ones(2))), out=out)
    assert route(result) == ("live ExportedProgram", "ExportedProgram")
    computes(result, Sub(), torch.tensor([5.0, 7.0]), torch.tensor([1.0, 2.0]))


def test_an_exported_program_that_still_trains_is_refused(out: Path) -> None:
    exported = export(Mlp().train(), (torch.ones(2, 6),))
    with pytest.raises(CompileError) as caught:
        compiled(exported, out=out)
    assert (caught.value.code, caught.value.exit_code) == ("training-mode", 1)
    assert "dropout" in str(caught.value.why)
    assert "test_routes.py" in str(caught.value.where)


def test_batch_statistics_that_are_live_are_refused(out: Path) -> None:
    exported = export(nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4)).train(), (torch.ones(2, 3, 5),))
    with pytest.raises(CompileError) as caught:
        compiled(exported, out=out)
    assert caught.value.code == "training-mode"


# -- TorchScript ------------------------------------------------------------------------------------------------


def test_a_trace_brings_its_own_inputs(tmp_path: Path, out: Path) -> None:
    torch.jit.trace(Mlp().eval(), torch.ones(2, 6)).save(tmp_path / "traced.pt")
    result = compiled(tmp_path / "traced.pt", out=out)
    assert route(result) == ("torchscript", "TorchScript to torch.export")
    assert dims(result) == ["[2, 6]"]
    computes(result, Mlp(), torch.randn(2, 6))


def test_a_trace_with_a_dynamic_dim(tmp_path: Path, out: Path) -> None:
    torch.jit.trace(Mlp().eval(), torch.ones(2, 6)).save(tmp_path / "traced.pt")
    result = compiled(tmp_path / "traced.pt", [SPEC], out=out)
    assert dims(result) == ["[batch=1..4, 6]"]
    computes(result, Mlp(), torch.randn(3, 6))


def test_a_script_without_control_flow(tmp_path: Path, out: Path) -> None:
    torch.jit.script(Mlp().eval()).save(tmp_path / "scripted.pt")
    result = compiled(tmp_path / "scripted.pt", [SPEC], out=out)
    assert route(result) == ("torchscript", "TorchScript to torch.export")
    computes(result, Mlp(), torch.randn(3, 6))


def test_a_script_that_was_saved_in_training_mode_is_compiled_for_inference(tmp_path: Path, out: Path) -> None:
    torch.jit.script(Mlp().train()).save(tmp_path / "scripted.pt")
    computes(compiled(tmp_path / "scripted.pt", [SPEC], out=out), Mlp(), torch.randn(3, 6))


def test_a_script_with_a_loop_and_an_if_goes_the_other_way(tmp_path: Path, out: Path) -> None:
    torch.jit.script(Branching()).save(tmp_path / "branching.pt")
    result = compiled(tmp_path / "branching.pt", ["x:float32[n=1..4]", "times:int64"], out=out)
    assert route(result) == ("torchscript", "TorchScript exporter")
    assert result.manifest["source"]["facts"]["not through torch.export"]
    for x in (torch.ones(3), -torch.ones(3)):
        for times in (0, 1, 5):
            computes(result, Branching(), x, torch.tensor(times))


def test_a_script_lists_what_it_takes(tmp_path: Path, out: Path) -> None:
    torch.jit.script(Branching()).save(tmp_path / "branching.pt")
    with pytest.raises(UsageError) as caught:
        compiled(tmp_path / "branching.pt", out=out)
    assert caught.value.code == "inputs-unknown"
    assert "x: Tensor, times: Tensor" in str(caught.value.why)


def test_a_script_with_a_fixed_scalar_between_its_tensors(tmp_path: Path, out: Path) -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, scale: float, bias: torch.Tensor) -> torch.Tensor:
            return x * scale + bias

    torch.jit.script(Scaled()).save(tmp_path / "scaled.pt")
    result = compiled(tmp_path / "scaled.pt", ["x:float32[2]", "bias:float32[2]", "scale=3.0"], out=out)
    with result.session() as session:
        x, bias = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
        assert session({"x": x, "bias": bias})["output"].tolist() == [13, 26]


class Looping(nn.Module):
    """The number of rounds is no tensor, and what follows must be decided at run time."""

    def forward(
        self, x: torch.Tensor, rounds: int, scale: float = 3.0, bias: torch.Tensor | None = None, twice: bool = True
    ) -> torch.Tensor:
        for _ in range(rounds):
            x = torch.tanh(x) + 0.5
        if bool(x.sum() > 0) and twice:
            x = x * scale
        return x if bias is None else x + bias


@pytest.mark.parametrize(
    ("specs", "arguments"),
    [
        (["x:float32[n=1..4]", "rounds=2"], ("x", 2)),
        (["x:float32[2]", "rounds=3", "bias:float32[2]"], ("x", 3, 3.0, "bias")),
        (["x:float32[2]", "bias:float32[2]", "rounds=0", "twice=False"], ("x", 0, 3.0, "bias", False)),
    ],
)
def test_scalars_of_a_script_that_goes_the_other_way(
    tmp_path: Path, out: Path, specs: list[str], arguments: tuple[Any, ...]
) -> None:
    script = torch.jit.script(Looping())
    script.save(tmp_path / "looping.pt")
    result = compiled(tmp_path / "looping.pt", specs, out=out)
    assert route(result) == ("torchscript", "TorchScript exporter")
    given = {"x": np.array([-2, 1], np.float32), "bias": np.array([10, 20], np.float32)}
    for sign in (1, -1):
        given["x"] *= sign
        tensors = [torch.from_numpy(given[each]) if isinstance(each, str) else each for each in arguments]
        with result.session() as session:
            have = session({name: array for name, array in given.items() if name in arguments})
        np.testing.assert_allclose(have["output"], script(*tensors).numpy(), rtol=1e-6)


def test_a_scalar_of_another_kind_is_told(tmp_path: Path, out: Path) -> None:
    torch.jit.script(Looping()).save(tmp_path / "looping.pt")
    with pytest.raises(CompileError) as caught:
        compiled(tmp_path / "looping.pt", ["x:float32[2]", "rounds=2", "twice=often"], out=out)
    assert caught.value.code == "capture-failed"
    assert "'twice'" in str(caught.value.why)


# -- weights and factories --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["state dict", "checkpoint", "safetensors"])
def test_weights_and_what_builds_their_module(tmp_path: Path, out: Path, factory: Path, kind: str) -> None:
    module = Mlp()
    file = tmp_path / "weights.bin"
    if kind == "safetensors":
        save_file(module.state_dict(), file)
    else:
        torch.save({"epoch": 3, "model": module.state_dict()} if kind == "checkpoint" else module.state_dict(), file)
    result = compiled(file, [SPEC], factory=f"{factory}:build", out=out)
    assert route(result) == ("safetensors" if kind == "safetensors" else "state-dict", "torch.export")
    computes(result, module, torch.randn(3, 6))


@pytest.mark.parametrize(
    ("name", "inputs", "shown"),
    [
        ("build", [SPEC], "[batch=1..4, 6]"),
        ("build_with_specs", None, "[batch=1..4, 6]"),
        ("build_with_example", None, "[2, 6]"),
    ],
)
def test_a_factory_alone(out: Path, factory: Path, name: str, inputs: list[str] | None, shown: str) -> None:
    result = compiled(f"{factory}:{name}", inputs, out=out)
    assert route(result) == ("factory", "torch.export")
    assert dims(result) == [shown]
    assert result.folder.name == ("mlp.onnxruntime" if name == "build" else f"mlp-{name}.onnxruntime")


def test_a_pickled_module_needs_trust(tmp_path: Path, out: Path) -> None:
    module = Mlp()
    torch.save(module, tmp_path / "pickled.pt")
    with pytest.raises(CompileError) as caught:
        compiled(tmp_path / "pickled.pt", [SPEC], out=out)
    assert caught.value.code == "untrusted-pickle"
    result = compiled(tmp_path / "pickled.pt", [SPEC], trust=True, out=out)
    assert route(result) == ("pickled-module", "torch.export")
    computes(result, module, torch.randn(3, 6))


# -- a Hugging Face folder --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-bert")
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_hugging_face_folder(bert: Path, out: Path) -> None:
    specs = ["input_ids:int64[batch=1..4,seq=2..16]", "attention_mask:int64[batch,seq]"]
    result = compiled(bert, specs, out=out)
    assert route(result) == ("hugging-face", "torch.export")
    assert dims(result) == ["[batch=1..4, seq=2..16]"] * 2
    outputs = [spec["name"] for spec in result.manifest["artifact"]["signature"]["outputs"]]
    assert outputs == ["last_hidden_state", "pooler_output"]
    assert result.manifest["reference"]["ranges"]["input_ids"]["hi"] == 50


# -- ONNX -------------------------------------------------------------------------------------------------------

GRAPH = """<ir_version: 10, opset_import: ["" : 17]>
mlp (float[batch,6] x) => (float[batch,3] y) <float[6,3] w, float[3] b>
{ t = MatMul(x, w)  u = Add(t, b)  y = Relu(u) }"""


def onnx_file(folder: Path, *, external: bool) -> tuple[Path, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((6, 3), np.float32), "b": rng.standard_normal(3).astype(np.float32)}
    model = onnx.parser.parse_model(GRAPH)
    del model.graph.value_info[:]
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(model, folder / "mlp.onnx", save_as_external_data=external, location="mlp.weights", size_threshold=0)
    return folder / "mlp.onnx", weights


@pytest.mark.parametrize("external", [False, True])
def test_an_onnx_file(tmp_path: Path, out: Path, external: bool) -> None:
    file, weights = onnx_file(tmp_path, external=external)
    assert (tmp_path / "mlp.weights").exists() == external
    result = compiled(file, out=out)
    assert route(result) == ("onnx", "onnx")
    assert result.manifest["reference"]["producer"] == "plumbline's evaluator"
    x = np.random.default_rng(1).standard_normal((5, 6), np.float32)
    with result.session() as session:
        np.testing.assert_allclose(
            session({"x": x})["y"], np.maximum(x @ weights["w"] + weights["b"], 0), rtol=1e-5, atol=1e-6
        )


def test_an_onnx_file_with_a_range_of_the_users(tmp_path: Path, out: Path) -> None:
    file, _ = onnx_file(tmp_path, external=False)
    assert dims(compiled(file, ["x:float32[rows=2..7,6]"], out=out)) == ["[rows=2..7, 6]"]
    with pytest.raises(UsageError, match="does not fit"):
        compiled(file, ["x:float32[rows=2..7,5]"], out=out)
    with pytest.raises(UsageError, match="takes no input 'z'"):
        compiled(file, ["z:float32[rows=2..7,6]"], out=out)


def test_an_onnx_graph_that_still_trains_is_refused(tmp_path: Path, out: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 17]> g (float[4] x) => (float[4] y)
        <float ratio = {0.5}, bool training = {1}> { y = Dropout(x, ratio, training) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "training.onnx")
    with pytest.raises(CompileError) as caught:
        compiled(tmp_path / "training.onnx", out=out)
    assert caught.value.code == "training-mode"


# -- live modules -----------------------------------------------------------------------------------------------


@pytest.fixture
def training() -> Iterator[Mlp]:
    module = Mlp().train()
    module.down.eval()
    yield module
    assert [part.training for part in (module, module.up, module.dropout, module.down)] == [True, True, True, False]
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_module_in_training_is_compiled_for_inference_and_handed_back_as_it_was(training: Mlp, out: Path) -> None:
    result = compiled(training, [SPEC], out=out)
    assert route(result) == ("live Mlp", "torch.export")
    x = torch.randn(3, 6)
    with result.session() as session, torch.no_grad():
        import copy

        want = copy.deepcopy(training).eval()(x).numpy()
        np.testing.assert_allclose(session({"x": x.numpy()})["output"], want, rtol=1e-5, atol=1e-6)


def test_a_module_is_handed_back_as_it_was_after_an_error_too(training: Mlp, out: Path) -> None:
    with pytest.raises(CompileError):
        compiled(training, ["x:float32[2,7]"], out=out)


@pytest.mark.parametrize("inputs", [{"x": torch.ones(2, 6)}, {"x": np.ones((2, 6), np.float32)}, [torch.ones(2, 6)]])
def test_examples_instead_of_specs(inputs: Any, out: Path) -> None:
    result = compiled(Mlp(), inputs, out=out)
    assert dims(result) == ["[2, 6]"]
    assert result.manifest["reference"]["cases"][0] == "given inputs"


def test_nested_examples_and_records(out: Path) -> None:
    class Nested(nn.Module):
        def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor], mask: torch.Tensor | None = None) -> Answer:
            assert mask is None
            return Answer(x + state["hidden"], (x * 2, state["cell"]))

    ones = torch.ones(2)
    result = compiled(Nested(), {"x": ones, "state": {"hidden": 2 * ones, "cell": 3 * ones}, "mask": None}, out=out)
    with result.session() as session:
        names = [spec.name for spec in session.signature.inputs]  # type: ignore[attr-defined]
        assert names == ["x", "state.hidden", "state.cell"]
        outputs = session({name: np.full(2, value, np.float32) for value, name in enumerate(names, 1)})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "logits": [3, 3],
        "parts.0": [2, 2],
        "parts.1": [3, 3],
    }


def test_a_tensor_that_is_returned_twice_or_as_it_came(out: Path) -> None:
    class Same(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y = torch.relu(x)
            return x, y, y, x

    with compiled(Same(), ["x:float32[2]"], out=out).session() as session:
        outputs = session({"x": np.array([-1, 2], np.float32)})
    assert [array.tolist() for array in outputs.values()] == [[-1, 2], [0, 2], [0, 2], [-1, 2]]


def test_a_constant_output_and_an_input_that_nobody_uses(out: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(3.0))

        def forward(self, x: torch.Tensor, unused: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return x + 1, self.table * 2, self.table

    result = compiled(Odd(), ["x:float32[2]", "unused:float32[2]"], out=out)
    with result.session() as session:
        outputs = session({"x": np.zeros(2, np.float32), "unused": np.zeros(2, np.float32)})
    assert [array.tolist() for array in outputs.values()] == [[1, 1], [0, 2, 4], [0, 1, 2]]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_types(out: Path, dtype: str) -> None:
    result = compiled(Mlp().to(getattr(torch, dtype)), [f"x:{dtype}[batch=1..4,6]"], out=out)
    with result.session() as session:
        assert session({"x": np.ones((2, 6), dtype)})["output"].dtype == dtype


def test_bfloat16_that_the_runtime_does_not_take_is_told(out: Path) -> None:
    with pytest.raises(CompileError) as caught:
        compiled(Mlp().to(torch.bfloat16), ["x:bfloat16[2,6]"], out=out)
    assert caught.value.code == "unsupported-op"
    assert "bfloat16" in str(caught.value.why)


class Spectrum(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spectrum = torch.fft.rfft(x)
        return spectrum.abs(), spectrum


@pytest.mark.parametrize("kind", ["module", "exported", "script"])
def test_complex_outputs_are_told_before_anything_is_built(tmp_path: Path, out: Path, kind: str) -> None:
    model: Any = Spectrum()
    if kind == "exported":
        model = export(model, (torch.ones(2, 8),))
    elif kind == "script":
        torch.jit.trace(model, torch.ones(2, 8)).save(tmp_path / "spectrum.pt")
        model = tmp_path / "spectrum.pt"
    with pytest.raises(CompileError) as caught:
        compiled(model, None if kind == "exported" else ["x:float32[2,8]"], out=out)
    assert caught.value.code == "complex-numbers"
    assert "'output_1' is complex64" in caught.value.message
    assert "view_as_real" in str(caught.value.hint)


def test_complex_inputs_are_told_with_what_to_do(out: Path) -> None:
    class Real(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.real

    with pytest.raises(CompileError) as caught:
        compiled(Real(), ["x:complex64[n=1..4,8]"], out=out)
    assert caught.value.code == "complex-numbers"
    assert "--input 'x:float32[n=1..4,8,2]'" in str(caught.value.hint)


def test_what_is_no_model_is_told(out: Path) -> None:
    with pytest.raises(UsageError, match="a dict is no model"):
        compiled({}, [SPEC], out=out)
