"""The flavour that builds on its own GPU, with stand-ins: TensorRT-RTX for its builder, host memory for its runtime."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from tensorrt_fakes import FakeDriver, FakeTensorRt

from backends.tensorrt import engine, options
from backends.tensorrt.flavor import ENTERPRISE, RTX, Flavor, Runtime, need
from backends.tensorrt.gpu import Gpu
from backends.tensorrt.profiles import profile
from backends.tensorrt.session import TensorRtSession
from compiler.contracts import Artifact, Dim, Signature, TensorSpec
from compiler.errors import UsageError

GPU = Gpu(0, "Some GPU", (9, 0))
X, Y = (TensorSpec(name, "float32", (Dim("n", 1, 5), 3)) for name in "xy")
SIGNATURE = Signature((X,), (Y,))
GRAPH = '<ir_version: 10, opset_import: ["": 21]> g (float[n,3] x) => (float[n,3] y) { y = Add(x, x) }'


class Enterprise(FakeTensorRt):
    """Its runtime does not tell whether an engine fits, and its contexts need no configuration."""

    def Runtime(self, log: Any) -> Any:
        made = super().Runtime(log)
        del made.get_engine_validity
        return made


def doubling() -> Enterprise:
    return Enterprise(
        compute=lambda inputs: {"y": 2 * inputs["x"]},
        dtypes={"x": np.float32, "y": np.float32},
        shapes=lambda given: {**given, "y": given["x"]},
    )


def session(folder: Path, trt: FakeTensorRt, **given: str) -> TensorRtSession:
    (folder / "model.engine").write_bytes(b"engine")
    artifact = Artifact("tensorrt", ("model.engine",), "TensorRT 10.13.3", SIGNATURE)
    return TensorRtSession(artifact, folder, options.read(given), Runtime(ENTERPRISE, trt), GPU, FakeDriver())


def test_an_engine_runs_without_a_configuration(tmp_path: Path) -> None:
    trt = doubling()
    with session(tmp_path, trt) as loaded:
        assert loaded({"x": np.ones((2, 3), np.float32)})["y"].tolist() == [[2] * 3] * 2
    assert trt.configs == [None]


def test_cuda_graphs_are_the_other_flavours(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        session(tmp_path, doubling(), cuda_graphs="true")
    assert caught.value.code == "bad-option"


def test_it_is_built_for_the_gpu_that_is_here(tmp_path: Path) -> None:
    runtime = Runtime(ENTERPRISE, need("rtx", ()).trt)
    plan = engine.plan(runtime, options.read({}), GPU, SIGNATURE)
    onnx.save(onnx.parser.parse_model(GRAPH), tmp_path / "model.onnx")
    engine.build(plan, tmp_path / "model.onnx", tmp_path / "model.engine")
    assert (tmp_path / "model.engine").stat().st_size > 1000
    assert engine.facts(plan)["compute_capabilities"] == ["9.0"]
    with pytest.raises(UsageError):
        engine.plan(runtime, options.read({"compute_capability": "8.9"}), GPU, SIGNATURE)


class Config:
    """Of a builder: it hands out a cache of timings."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def create_timing_cache(self, content: bytes) -> Any:
        self.given.append(content)
        return SimpleNamespace(serialize=lambda: b"timings")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return not ignore_mismatch


@pytest.mark.parametrize(("flavor", "given"), [(ENTERPRISE, [b"", b"timings"]), (RTX, [])])
def test_measured_times_are_kept_for_the_next_build(tmp_path: Path, flavor: Flavor, given: list[bytes]) -> None:
    settings = options.read({"cache": str(tmp_path / "cache")})
    plan = engine.Plan(Runtime(flavor, doubling()), settings, GPU, (), profile(SIGNATURE, {}))
    config = Config()
    for _ in range(2):
        engine.with_timings(config, plan)()
    assert config.given == given
