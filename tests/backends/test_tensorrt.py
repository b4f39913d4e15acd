"""TensorRT: the contract as far as it holds without a GPU, engines built for real, and what is refused.

Where an NVIDIA GPU is, the contract's calls run; elsewhere each of them builds its engine and is then skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from contract import AFFINE, BackendContract, N

import backends
import compiler
from backends.checked import CheckedSession
from backends.tensorrt import flavor as flavors
from backends.tensorrt import gpu as gpus
from backends.tensorrt.gpu import Gpu
from backends.tensorrt.legality import LEGALITY, REFUSES
from backends.tensorrt.mapped import let_go
from compiler.contracts import Artifact, Dim, Ready, Unavailable
from compiler.errors import CompileError, PlumblineError, UnavailableError, UsageError
from compiler.graph_files import GRAPH, data_file
from compiler.ir.provenance import NAME_SCOPES, STACK_TRACE
from compiler.ir.verify import signature_of

NO_GPU = "no NVIDIA GPU here"
HEADER = '<ir_version: 10, opset_import: ["" : 24]> g '
ADA = {"compute_capability": "8.9"}  # one architecture, for speed

here = pytest.mark.skipif(bool(gpus.gpus()), reason="about a machine without a GPU")


def need_gpu() -> None:
    state = backends.get("tensorrt").probe()
    if not (isinstance(state, Ready) and state.runs):
        pytest.skip(NO_GPU)


class TestTensorRt(BackendContract):
    target = "tensorrt"
    runtime = "tensorrt_rtx"
    mistyped_option = ("thread", "threads")
    refused_dtypes = frozenset(LEGALITY.dtypes)
    known_failures: ClassVar[Mapping[str, str]] = {}

    @contextmanager
    def opened(self, folder: Path, text: str, *dims: Dim, **options: Any) -> Iterator[CheckedSession]:
        try:
            with super().opened(folder, text, *dims, **options) as session:
                yield session
        except UnavailableError as error:
            if error.code == "no-gpu":
                pytest.skip(NO_GPU)
            raise

    @pytest.fixture(scope="class")
    @classmethod
    def compiled(cls, mlp_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        out = tmp_path_factory.mktemp("tensorrt")
        result = compiler.compile(f"{mlp_file}:build", ["x:float32[n=1..4,16]"], target="tensorrt", output=out)
        assert result.passed
        need_gpu()
        return result.folder

    def take_away(self, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for flavor in flavors.FLAVORS.values():
            super().take_away(flavor.module, monkeypatch)


# -- building ---------------------------------------------------------------------------------------------------


def build(folder: Path, text: str, *dims: Dim, **options: str) -> Artifact:
    model = onnx.parser.parse_model(text if text.startswith("<") else HEADER + text)
    return build_model(folder, ir.from_proto(model), *dims, **options)


def build_model(folder: Path, model: ir.Model, *dims: Dim, **options: str) -> Artifact:
    signature = signature_of(model, {dim.name: dim for dim in dims})
    ir.save(model, folder / GRAPH)
    return backends.get("tensorrt").build(folder / GRAPH, signature, {**ADA, **options}, folder)


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    text = "(float[n,8] x, float[8,8] w) => (float[n,8] y) { t = MatMul(x, w)  y = Softmax(t) }"
    engines = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        artifact = build(tmp_path / name, text, N)
        engines.append((tmp_path / name / artifact.files[0]).read_bytes())
    assert engines[0] == engines[1]
    assert len(engines[0]) > 10_000


def test_the_artifact_says_what_it_was_built_for(tmp_path: Path) -> None:
    artifact = build(tmp_path, AFFINE, N, opt="n=2", compute_capability="8.6,12.0")
    assert artifact.runtime.startswith("TensorRT-RTX ")
    assert artifact.options == {"compute_capability": "8.6,12.0", "opt": "n=2"}
    assert artifact.facts["native_code"] is True
    assert artifact.facts["compute_capabilities"] == ["8.6", "12.0"]
    assert artifact.facts["profile"] == {"x": {"min": (1, 3), "opt": (2, 3), "max": (5, 3)}}


@pytest.mark.parametrize(
    "options",
    [
        {"tf32": "true"},
        {"strict_nans": "false"},
        {"optimization_level": "0"},
        {"workspace": "64M"},
        {"threads": "1"},
        {"version_compatible": "true"},
    ],
    ids=lambda options: "=".join(*options.items()),
)
def test_an_engine_is_built_with(tmp_path: Path, options: dict[str, str]) -> None:
    assert build(tmp_path, AFFINE, N, **options).files == ("model.engine",)


def test_weights_in_a_file_of_their_own_make_the_same_engine(tmp_path: Path) -> None:
    """They are let go of while TensorRT still works with them."""
    weights = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    text = "(float[n,512] x, float[512,512] w) => (float[n,512] y) { t = MatMul(x, w)  y = Softmax(t) }"
    engines = []
    for place in ("inside", "beside"):
        model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
        folder, value = tmp_path / place, model.graph.inputs.pop(1)
        folder.mkdir()
        value.const_value = ir.tensor(weights, name="w")
        model.graph.register_initializer(value)
        signature = signature_of(model, {"n": N})
        ir.save(model, folder / GRAPH, external_data=data_file(folder / GRAPH).name if place == "beside" else None)
        assert data_file(folder / GRAPH).exists() is (place == "beside")
        artifact = backends.get("tensorrt").build(folder / GRAPH, signature, ADA, folder)
        engines.append((folder / artifact.files[0]).read_bytes())
    assert engines[0] == engines[1]


def test_a_mapping_that_is_let_go_of_reads_as_before(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 4096)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = mapped[:]
        let_go(file)
        assert mapped[:] == before


def test_options_reach_the_builder() -> None:
    from backends.tensorrt import engine, log, options
    from backends.tensorrt.profiles import profile
    from compiler.contracts import Signature

    runtime = flavors.need("rtx", ())
    trt = runtime.trt
    chosen = options.read({"tf32": "true", "strict_nans": "false", "optimization_level": "5", "workspace": "64M"})
    signature = Signature((), ())
    for settings, tf32, nans in ((chosen, True, False), (options.read({}), False, True)):
        builder = trt.Builder(log.logger(trt))
        plan = engine.plan(runtime, settings, None, signature)
        config = engine.configured(builder, plan)
        assert config.get_flag(trt.BuilderFlag.TF32) is tf32
        assert config.get_flag(trt.BuilderFlag.STRICT_NANS) is nans
        assert not config.get_flag(trt.BuilderFlag.STRIP_PLAN)
        assert plan.profile == profile(signature, {})
        if settings is chosen:
            assert config.builder_optimization_level == 5
            assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 64 * 2**20


def test_attention_in_float32_is_built(tmp_path: Path) -> None:
    """There is a kernel for it in half precision only; left alone, the build ends without an engine."""
    text = "(float[1,4,q,16] x, float[1,4,q,16] k) => (float[1,4,q,16] y) { y = Attention(x, k, k) }"
    assert build(tmp_path, text, Dim("q", 1, 64)).files == ("model.engine",)


@here
def test_without_a_gpu_all_architectures_with_float32_products_are_built_for(tmp_path: Path) -> None:
    text = "(float[n,8] x, float[8,8] w) => (float[n,8] y) { y = MatMul(x, w) }"
    artifact = build(tmp_path, text, N, compute_capability=None)  # type: ignore[arg-type]
    assert artifact.facts["compute_capabilities"] == ["8.0", "8.6", "8.9", "12.0", "12.1"]
    with pytest.raises(CompileError) as caught:
        build(tmp_path, text, N, compute_capability="7.5")
    assert caught.value.code == "runtime-refused"


@here
def test_an_engine_without_weights_needs_a_gpu_to_be_built(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        build(tmp_path, AFFINE, N, strip_weights="true")
    assert caught.value.code == "no-gpu"


# -- what is refused --------------------------------------------------------------------------------------------


def test_the_table_of_operators_is_the_parsers_own() -> None:
    trt = flavors.need("rtx", ()).trt
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    names = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {name for name in names if not parser.supports_operator(name)} == set(REFUSES)


def test_every_node_that_the_parser_refuses_is_named_with_its_line(tmp_path: Path) -> None:
    text = "(float[2] x) => (float[2] y) { a = SplitToSequence(x)  b = ConcatFromSequence<axis = 0>(a)  y = Relu(b) }"
    model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
    for number, node in enumerate(model.graph):
        node.name = f"node_{number}"
        node.metadata_props[NAME_SCOPES] = repr(["", f"layers.{number}", node.op_type])
        node.metadata_props[STACK_TRACE] = f'File "/home/me/mynet.py", line {10 + number}, in forward\n    f(x)'
    with pytest.raises(CompileError) as caught:
        build_model(tmp_path, model)
    error = caught.value
    assert error.code == "unsupported-op"
    assert "SplitToSequence node_0, from layers.0 (mynet.py:10)" in str(error.where)
    assert "ConcatFromSequence node_1, from layers.1 (mynet.py:11)" in str(error.where)
    assert "without SplitToSequence, ConcatFromSequence" in str(error.hint)


def test_the_parsers_reason_is_told_without_its_code(tmp_path: Path) -> None:
    text = "(float[1,1,4,4] x) => (float[1,1,3,3] y, int64[1,1,3,3] i) { y, i = MaxPool<kernel_shape = [2, 2]>(x) }"
    with pytest.raises(CompileError) as caught:
        build(tmp_path, text)
    assert caught.value.where == "MaxPool"
    assert str(caught.value.why).startswith("MaxPool: This version of TensorRT")


def test_an_input_whose_values_are_a_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as caught:
        build(tmp_path, "(float[4] x, int64[2] shape) => (float[a,b] y) { y = Reshape(x, shape) }")
    assert (caught.value.code, caught.value.where) == ("unsupported-op", "input 'shape'")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"tf32": "perhaps"}, "true or false"),
        ({"compute_capability": "89"}, "8.6,8.9"),
        ({"compute_capability": "9.9"}, None),
        ({"opt": "n"}, "batch=4"),
        ({"opt": "m=2"}, "one of n"),
        ({"opt": "n=6"}, "n=1..5"),
        ({"optimization_level": "6"}, "from 0 to 5"),
        ({"workspace": "much"}, "512M"),
        ({"specialization": "eagre"}, "did you mean 'eager'?"),
        ({"flavor": "rtz"}, "did you mean 'rtx'?"),
        ({"threads": "0"}, "from 1 on"),
        ({"device": "7"}, None),
    ],
    ids=lambda value: "=".join(*value.items()) if isinstance(value, dict) else "",
)
def test_a_value_that_makes_no_sense_is_refused(tmp_path: Path, options: dict[str, str], hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        build(tmp_path, AFFINE, N, **options)
    assert caught.value.code == "bad-option"
    assert hint is None or hint in str(caught.value.hint)


# -- where it runs ----------------------------------------------------------------------------------------------


@here
def test_without_a_gpu_it_is_built_and_not_run(mlp_file: Path, tmp_path: Path) -> None:
    result = compiler.compile(
        f"{mlp_file}:build", ["x:float32[n=1..4,16]"], target="tensorrt", output=tmp_path, options=dict(ADA)
    )
    assert result.verdict.status == "not run"
    assert result.verdict.outputs[0].passed, "the graph itself is proven"
    assert any(NO_GPU in note for note in result.verdict.notes)
    with pytest.raises(PlumblineError) as caught:
        result.session()
    assert (caught.value.code, caught.value.exit_code) == ("no-gpu", 4)
    assert caught.value.hint


BYTES = """\
import torch


class Marks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.filter = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, picture):
        marks = self.filter(picture.permute(0, 3, 1, 2) / 255).argmax(1).to(torch.uint8)
        return marks.flip(1), marks == picture[..., 0]
"""


@here
def test_a_picture_of_bytes_comes_in_and_one_goes_out(tmp_path: Path) -> None:
    (tmp_path / "marks.py").write_text(BYTES)
    result = compiler.compile(
        f"{tmp_path / 'marks.py'}:Marks",
        ["picture:uint8[n=1..4,8,8,3]"],
        target="tensorrt",
        output=tmp_path,
        options=dict(ADA),
    )
    assert result.verdict.status == "not run"
    assert all(output.passed for output in result.verdict.outputs), "the graph itself is proven"


@here
def test_the_probe_says_that_nothing_runs_without_a_gpu() -> None:
    state = backends.get("tensorrt").probe()
    assert isinstance(state, Ready)
    assert (state.runs, state.devices, state.note) == (False, (), NO_GPU)


@pytest.mark.parametrize(("capability", "runs"), [((8, 9), True), ((12, 0), True), ((9, 0), False)])
def test_the_probe_looks_at_the_gpus_architecture(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], runs: bool
) -> None:
    monkeypatch.setattr("backends.tensorrt.backend.gpus", lambda: (Gpu(0, "Some GPU", capability),))
    state = backends.get("tensorrt").probe()
    assert isinstance(state, Ready)
    assert state.runs is runs
    assert runs or "9.0" in state.note


def test_the_flavour_that_builds_only_on_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    fake = types.ModuleType("tensorrt")
    fake.__version__ = "10.14.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    found = flavors.find("enterprise", ())
    assert isinstance(found, Unavailable)
    assert "tensorrt-rtx" in found.remedy
    one = (Gpu(0, "H200", (9, 0)),)
    assert isinstance(runtime := flavors.find(None, one), flavors.Runtime)
    assert runtime.version == "TensorRT 10.14.1"


def test_a_flavour_that_is_not_installed_has_its_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for flavor in flavors.FLAVORS.values():
        monkeypatch.setitem(sys.modules, flavor.module, None)
        with pytest.raises(UnavailableError) as caught:
            flavors.need(flavor.name, ())
        assert caught.value.hint == flavor.remedy
