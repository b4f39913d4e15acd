"""TVM on a GPU, as far as it can be told without one: kernels are lowered for it; what would run there is copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from contract import AFFINE, HEADER, BackendContract, N

from backends.tvm import devices, weights
from backends.tvm.build import Program, lower_graph
from compiler.errors import CompileError, UnavailableError
from compiler.graph_files import GRAPH
from compiler.ir.store import save
from compiler.ir.verify import signature_of

needs_no_gpu = pytest.mark.skipif(devices.missing_gpu() is None, reason="there is a GPU here")

GPU = {
    "kind": "cuda",
    "arch": "sm_80",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "thread_warp_size": 32,
}
VALUES = ", ".join(map(str, range(48)))
MODEL = f"(float[n,6] x) => (float[n,8] y) <float[6,8] w = {{{VALUES}}}> {{ t = MatMul(x, w)  y = Softmax(t) }}"


class Built:
    target = "tvm"
    opened = BackendContract.opened


class TestWithoutAGpu(Built):
    @needs_no_gpu
    def test_the_error_says_what_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "require_compiler", lambda: None)
        with pytest.raises(UnavailableError) as caught, self.opened(tmp_path, AFFINE, N, target="cuda"):
            raise AssertionError("not reached")
        assert (caught.value.code, int(caught.value.exit_code)) == ("target-unavailable", 4)
        assert "libcuda" in str(caught.value.why) or "driver" in str(caught.value.why)

    def test_so_does_a_missing_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UnavailableError) as caught:
            devices.require_compiler()
        assert "apache-tvm[cuda]" in str(caught.value.hint)

    def test_code_for_another_gpu_is_not_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "gpu", lambda: GPU)
        with pytest.raises(UnavailableError) as caught:
            devices.chosen({"target": "cuda"}, {"gpu": "sm_90"})
        assert (caught.value.code, "sm_80" in str(caught.value.why)) == ("other-gpu", True)


def lowered(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setattr(devices, "gpu", lambda: GPU)
    monkeypatch.setattr(devices, "require_compiler", lambda: None)
    model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
    save(model, folder / GRAPH)
    return lower_graph(folder / GRAPH, signature_of(model, {"n": N}), {"target": "cuda"}, weights.Pool())


def test_kernels_are_made_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = lowered(tmp_path, MODEL, monkeypatch)
    assert program.facts["gpu"] == "sm_80"
    (host,) = program.compiled().mod.imports
    assert [module.kind for module in host.imports] == ["cuda"]


def test_kernels_for_a_cpu_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "(float[3,4] x, int64[2,4] i, float[2,4] u) => (float[3,4] y) { y = ScatterElements(x, i, u) }"
    with pytest.raises(CompileError) as caught:
        lowered(tmp_path, text, monkeypatch)
    assert (caught.value.code, "'scatterelements' is written for a CPU" in str(caught.value.why)) == (
        "unsupported-op",
        True,
    )


class TestCopying(Built):
    """The memory of the CPU, taken for that of a device."""

    @pytest.fixture(autouse=True)
    def _apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "chosen", lambda options, facts: devices.Copying("cpu", 1))

    def test_arrays_go_there_and_back(self, tmp_path: Path) -> None:
        x = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
        with self.opened(tmp_path, MODEL, N) as session:
            t = x.astype(np.float64) @ np.arange(48).reshape(6, 8)
            powers = np.exp(t - t.max(-1, keepdims=True))
            for given in (x, np.asfortranarray(x), x[::-1][::-1]):
                y = session({"x": given})["y"]
                np.testing.assert_allclose(y, powers / powers.sum(-1, keepdims=True), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "float64"])
    @pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
    def test_every_type_and_shape(self, dtype: str, shape: tuple[int, ...]) -> None:
        device: Any = devices.Copying("cpu", 1)
        array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
        back = device.take(device.put(array))
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
