"""The session's own work, on a driver and an engine that live in host memory: shapes, buffers, errors, closing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tensorrt_fakes import FakeDriver, FakeTensorRt, OnDevice, ThroughDlpack, ThroughInterface

from backends.tensorrt import options
from backends.tensorrt.cache import CacheFile
from backends.tensorrt.flavor import RTX, Runtime
from backends.tensorrt.gpu import Gpu
from backends.tensorrt.session import TensorRtSession, opened
from compiler.contracts import Artifact, Dim, Signature, TensorSpec
from compiler.errors import CompileError, UnavailableError, UsageError

N = Dim("n", 0, 100)
X, Y = TensorSpec("x", "float32", (N, 3)), TensorSpec("y", "float32", (N, 3))
ONE_TO_ONE = Signature((X,), (Y,))
GPU = Gpu(0, "Some GPU", (8, 9))


def doubling(**changes: Any) -> FakeTensorRt:
    made = {
        "compute": lambda inputs: {"y": 2 * inputs["x"]},
        "dtypes": {"x": np.float32, "y": np.float32},
        "shapes": lambda given: {**given, "y": given["x"]},
    }
    return FakeTensorRt(**{**made, **changes})


def session(
    folder: Path,
    trt: FakeTensorRt,
    driver: FakeDriver,
    signature: Signature = ONE_TO_ONE,
    given: Mapping[str, str] | None = None,
) -> TensorRtSession:
    (folder / "model.engine").write_bytes(b"engine")
    facts = {"compute_capabilities": ["8.9"]}
    artifact = Artifact("tensorrt", ("model.engine", "model.onnx"), "TensorRT-RTX 1.7.0", signature, facts=facts)
    return TensorRtSession(artifact, folder, options.read(given or {}), Runtime(RTX, trt), GPU, driver)


def rows(count: int, value: float = 1) -> np.ndarray[Any, Any]:
    return np.full((count, 3), value, np.float32)


def test_sizes_change_from_call_to_call_and_buffers_only_grow(tmp_path: Path) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        allocations = []
        for count in (2, 5, 1, 5, 0, 4):
            np.testing.assert_array_equal(engine({"x": rows(count, count)})["y"], rows(count, 2 * count))
            allocations.append((driver.calls["cuMemAlloc_v2"], driver.calls["cuMemHostAlloc"]))
    assert allocations == [(2, 2), (4, 4), (4, 4), (4, 4), (4, 4), (4, 4)]


def test_results_are_the_callers_own(tmp_path: Path) -> None:
    with session(tmp_path, doubling(), FakeDriver()) as engine:
        first = engine({"x": rows(2)})["y"]
        engine({"x": rows(2, 7)})
    assert first.tolist() == [[2] * 3] * 2
    assert first.flags.owndata
    assert first.flags.writeable


def test_arrays_that_are_not_contiguous_are_read_right(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    with session(tmp_path, doubling(), FakeDriver()) as engine:
        np.testing.assert_array_equal(engine({"x": base[::-1, ::2]})["y"], 2 * base[::-1, ::2])


def test_closing_gives_everything_back_and_may_happen_twice(tmp_path: Path) -> None:
    driver = FakeDriver()
    engine = session(tmp_path, doubling(), driver)
    engine({"x": rows(3)})
    assert driver.memory
    engine.close()
    engine.close()
    assert (driver.memory, driver.streams, driver.contexts, driver.depth) == ({}, 0, 0, 0)
    with pytest.raises(CompileError) as caught:
        engine({"x": rows(1)})
    assert caught.value.code == "session-closed"


def test_calls_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine, ThreadPoolExecutor(8) as pool:
        inputs = [rows(1 + number % 7, number) for number in range(200)]
        outputs = list(pool.map(lambda x: engine({"x": x})["y"], inputs))
    for x, y in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(y, 2 * x)
    assert driver.depth == 0


def test_an_output_whose_size_the_run_finds_out(tmp_path: Path) -> None:
    trt = doubling(
        compute=lambda inputs: {"y": inputs["x"][inputs["x"][:, 0] > 0]},
        shapes=lambda given: {**given, "y": (-1, 3)},
    )
    with session(tmp_path, trt, FakeDriver()) as engine:
        for positive in (3, 0, 5):
            x = np.concatenate([rows(positive), rows(2, -1)])
            assert engine({"x": x})["y"].shape == (positive, 3)


def test_an_output_for_which_there_is_no_memory(tmp_path: Path) -> None:
    driver = FakeDriver()
    trt = doubling(shapes=lambda given: {**given, "y": (-1, 3)})
    with session(tmp_path, trt, driver) as engine:
        engine({"x": rows(2)})
        driver.failing["cuMemAlloc_v2"] = 2
        with pytest.raises(CompileError):
            engine({"x": rows(50)})
        driver.failing.clear()
        assert engine({"x": rows(50)})["y"].shape == (50, 3)


def test_tensors_of_every_kind(tmp_path: Path) -> None:
    names = {"a": "bool", "b": "int64", "c": "float16", "d": "bfloat16"}
    dtypes = {name: np.dtype(ml_dtypes.bfloat16 if word == "bfloat16" else word) for name, word in names.items()}
    specs = tuple(TensorSpec(name, word, ()) for name, word in names.items())
    outputs = tuple(TensorSpec(name.upper(), word, ()) for name, word in names.items())
    trt = FakeTensorRt(
        compute=lambda inputs: {name.upper(): array for name, array in inputs.items()},
        dtypes=dtypes,
        shapes=lambda given: {**given, **{name.upper(): shape for name, shape in given.items()}},
        on_host=frozenset({"b", "B"}),
    )
    driver = FakeDriver()
    with session(tmp_path, trt, driver, Signature(specs, outputs)) as engine:
        answers = engine({name: np.array(1, dtype) for name, dtype in dtypes.items()})
    assert {name: (str(array.dtype), array.shape, float(array)) for name, array in answers.items()} == {
        name.upper(): (word, (), 1.0) for name, word in names.items()
    }
    assert driver.calls["cuMemcpyHtoDAsync_v2"] == 3, "what TensorRT wants on the host stays there"


# -- arrays that lie on the GPU -----------------------------------------------------------------------------------

KINDS = pytest.mark.parametrize("kind", [ThroughInterface, ThroughDlpack])


@KINDS
@pytest.mark.parametrize("offset", [0, 16])
def test_nothing_goes_through_the_host(tmp_path: Path, kind: type[OnDevice], offset: int) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        x, y = kind(driver, rows(4, 3), offset=offset), kind(driver, rows(4, 0), offset=offset)
        engine.on_device({"x": x}, {"y": y})
        np.testing.assert_array_equal(y.array, rows(4, 6))
        copied = [driver.calls[f"cuMemcpy{way}Async_v2"] for way in ("HtoD", "DtoH", "DtoD")]
        assert copied == [0, 0, 2 if offset else 0], "only what TensorRT cannot use where it lies moves, on the device"
        assert driver.calls["cuMemAlloc_v2"] == (2 if offset else 0)
        np.testing.assert_array_equal(engine({"x": rows(2)})["y"], rows(2, 2))
    assert driver.depth == 0


def test_the_owner_is_told_on_which_stream_the_array_is_read(tmp_path: Path) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        x, y = ThroughDlpack(driver, rows(1)), ThroughInterface(driver, rows(1))
        waited = driver.calls["cuStreamSynchronize"]
        engine.on_device({"x": x}, {"y": y})
    assert x.streams == (5,)
    assert driver.calls["cuStreamSynchronize"] - waited >= 2, "for the owner's stream, and for the end of the call"


@KINDS
def test_arrays_without_elements_on_the_gpu(tmp_path: Path, kind: type[OnDevice]) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        engine.on_device({"x": kind(driver, rows(0))}, {"y": kind(driver, rows(0))})


def test_every_element_type_is_read_from_dlpack(tmp_path: Path) -> None:
    names = ("bool", "int32", "int64", "float16", "float32")
    specs = tuple(TensorSpec(name, name, (2,)) for name in names)
    outputs = tuple(TensorSpec(name.upper(), name, (2,)) for name in names)
    trt = FakeTensorRt(
        compute=lambda inputs: {name.upper(): array for name, array in inputs.items()},
        dtypes={name: np.dtype(name) for name in names},
        shapes=lambda given: {**given, **{name.upper(): shape for name, shape in given.items()}},
    )
    driver = FakeDriver()
    with session(tmp_path, trt, driver, Signature(specs, outputs)) as engine:
        given = {name: ThroughDlpack(driver, np.array([0, 1], name)) for name in names}
        wanted = {name.upper(): ThroughDlpack(driver, np.zeros(2, name)) for name in names}
        engine.on_device(given, wanted)
    assert [array.array.tolist() for array in wanted.values()] == [[0, 1]] * len(names)


@KINDS
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (rows(3).astype(np.float64), rows(3), "input 'x' is float64"),
        (rows(3)[:, :2], rows(3), "not contiguous"),
        (np.ones((3, 2), np.float32), rows(3), "shape"),
        (rows(101), rows(101), "shape"),
        (rows(3), rows(2), r"output 'y' has shape \[2, 3\]"),
        (rows(3), rows(3).astype(np.int32), "output 'y' is int32, the model gives float32"),
    ],
)
def test_arrays_on_the_gpu_that_do_not_fit(tmp_path: Path, kind: type[OnDevice], x: Any, y: Any, words: str) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        given = kind(driver, np.ascontiguousarray(x if x.base is None else x.base))
        given.array = given.array[:, : x.shape[1]]
        with pytest.raises(UsageError, match=words) as caught:
            engine.on_device({"x": given}, {"y": kind(driver, y)})
        assert caught.value.code == "input-mismatch"
        assert engine({"x": rows(1)})["y"].tolist() == [[2] * 3]


def test_arrays_that_lie_elsewhere_or_go_by_another_name(tmp_path: Path) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        x, y = ThroughDlpack(driver, rows(2)), ThroughDlpack(driver, rows(2))
        cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
            ({"x": rows(2)}, {"y": y}, "does not lie on GPU 0"),
            ({"x": ThroughDlpack(driver, rows(2), gpu=1)}, {"y": y}, "does not lie on GPU 0"),
            ({"x": [1.0]}, {"y": y}, "a list, which does not say where it lies"),
            ({"x": x}, {}, "the output 'y:float32"),
            ({"x": x}, {"y": y, "z": y}, "there is no output 'z'"),
            ({"z": x}, {"y": y}, "there is no input 'z'"),
        ]
        for inputs, outputs, words in cases:
            with pytest.raises(UsageError, match=words):
                engine.on_device(inputs, outputs)
    with pytest.raises(CompileError) as caught:
        engine.on_device({"x": x}, {"y": y})
    assert caught.value.code == "session-closed"


def test_an_output_whose_size_depends_on_data_needs_the_session_itself(tmp_path: Path) -> None:
    driver, trt = FakeDriver(), doubling(shapes=lambda given: {**given, "y": (-1, 3)})
    with session(tmp_path, trt, driver) as engine:
        with pytest.raises(UsageError) as caught:
            engine.on_device({"x": ThroughDlpack(driver, rows(2))}, {"y": ThroughDlpack(driver, rows(2))})
        assert "depends on data" in str(caught.value.why)


# -- what goes wrong --------------------------------------------------------------------------------------------


def test_a_refusal_is_told_in_tensorrts_words_and_the_session_goes_on(tmp_path: Path) -> None:
    trt, driver = doubling(), FakeDriver()
    with session(tmp_path, trt, driver) as engine:
        trt.takes_shapes = False
        with pytest.raises(CompileError) as caught:
            engine({"x": rows(9)})
        assert (caught.value.code, caught.value.why) == ("gpu-failed", "shape outside of the profile")
        trt.takes_shapes, trt.runs = True, False
        with pytest.raises(CompileError) as caught:
            engine({"x": rows(9)})
        assert "enqueueV3" in str(caught.value.why)
        trt.runs = True
        assert engine({"x": rows(1)})["y"].tolist() == [[2] * 3]
    assert driver.depth == 0


@pytest.mark.parametrize(
    ("function", "status", "code"),
    [
        ("cuMemAlloc_v2", 2, "out-of-memory"),
        ("cuStreamSynchronize", 700, "gpu-failed"),
        ("cuMemHostAlloc", 2, "out-of-memory"),
    ],
)
def test_an_error_of_the_driver_has_its_own_words(tmp_path: Path, function: str, status: int, code: str) -> None:
    driver = FakeDriver()
    with session(tmp_path, doubling(), driver) as engine:
        driver.failing[function] = status
        with pytest.raises(CompileError) as caught:
            engine({"x": rows(3)})
        assert caught.value.code == code
        assert function in str(caught.value.why)
        assert status == 2 or "illegal memory access" in str(caught.value.why)
        driver.failing.clear()
        assert engine({"x": rows(3)})["y"].shape == (3, 3)


def test_shapes_that_the_engine_cannot_settle(tmp_path: Path) -> None:
    trt = doubling()
    with session(tmp_path, trt, FakeDriver()) as engine:
        for settings, words in (({"contradicted": True}, "do not go together"), ({"undecided": ("x",)}, "shapes: x")):
            vars(trt).update(settings)
            with pytest.raises(CompileError, match=words):
                engine({"x": rows(1)})
            vars(trt).update(contradicted=False, undecided=())
        assert engine({"x": rows(1)})["y"].shape == (1, 3)


def test_an_engine_for_another_gpu_says_what_it_is_for(tmp_path: Path) -> None:
    trt, driver = doubling(), FakeDriver()
    trt.invalid = 1 | 2
    with pytest.raises(UnavailableError) as caught:
        session(tmp_path, trt, driver)
    error = caught.value
    assert (error.code, error.why) == ("other-gpu", "version mismatch, unsupported cc")
    assert error.where == "built with TensorRT-RTX 1.7.0 for compute capability 8.9"
    assert (driver.depth, driver.contexts) == (0, 0)


def test_an_engine_that_does_not_load(tmp_path: Path) -> None:
    trt = doubling()
    trt.unreadable = True
    with pytest.raises(UnavailableError):
        session(tmp_path, trt, FakeDriver())


def test_without_a_gpu_there_is_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.tensorrt.session.gpus", tuple)
    artifact = Artifact("tensorrt", ("model.engine",), "TensorRT-RTX 1.7.1", Signature((X,), (Y,)))
    with pytest.raises(UnavailableError) as caught:
        opened(artifact, tmp_path, options.read({}))
    assert caught.value.code == "no-gpu"


# -- how it is set up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "strategy", "graphs"),
    [({}, 1, 0), ({"specialization": "lazy"}, 0, 0), ({"cuda_graphs": "true", "specialization": "none"}, 2, 1)],
)
def test_options_reach_the_runtime(tmp_path: Path, given: dict[str, str], strategy: int, graphs: int) -> None:
    trt = doubling()
    with session(tmp_path, trt, FakeDriver(), given=given) as engine:
        assert engine.effective["cuda_graphs"] is bool(graphs)
        assert engine.effective["device"] == "Some GPU (8.9)"
    (config,) = trt.configs
    assert config.dynamic_shapes_kernel_specialization_strategy == strategy
    assert config.cuda_graph_strategy == graphs


def test_stripped_weights_come_from_the_graph_beside_the_engine(tmp_path: Path) -> None:
    trt = doubling()
    with session(tmp_path, trt, FakeDriver(), given={"strip_weights": "true"}):
        assert trt.refitted == [str(tmp_path / "model.onnx")]


def test_what_was_compiled_is_kept_for_the_next_session(tmp_path: Path) -> None:
    trt, folder = doubling(), tmp_path / "cache"
    for _ in range(2):
        with session(tmp_path, trt, FakeDriver(), given={"cache": str(folder)}) as engine:
            engine({"x": rows(1)})
    assert trt.loaded_kernels == [b"compiled kernels"], "the second session read what the first one wrote"
    assert len(list(folder.iterdir())) == 1


def test_a_cache_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UsageError) as caught:
        session(tmp_path, doubling(), FakeDriver(), given={"cache": str(shared)})
    assert caught.value.code == "bad-option"


def test_another_engine_gpu_or_runtime_has_another_cache(tmp_path: Path) -> None:
    same = [CacheFile(str(tmp_path), "kernels", GPU, "1.7.1", "engine") for _ in range(2)]
    others = [
        CacheFile(str(tmp_path), "timings", GPU, "1.7.1", "engine"),
        CacheFile(str(tmp_path), "kernels", Gpu(0, "Some GPU", (8, 6)), "1.7.1", "engine"),
        CacheFile(str(tmp_path), "kernels", GPU, "1.7.2", "engine"),
        CacheFile(str(tmp_path), "kernels", GPU, "1.7.1", "another"),
    ]
    same[0].write(b"content")
    assert [file.read() for file in (same[1], *others)] == [b"content", b"", b"", b"", b""]
