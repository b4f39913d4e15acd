"""A backend that crashes, hangs, raises or eats memory: an error, with a folder that shows it again."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx.parser
import pytest

from backends import replay as reproduction
from backends import worker
from backends.isolated import IsolatedBackend
from compiler.contracts import Artifact, Signature, SilentProgress, TensorSpec
from compiler.errors import CompileError, UsageError

pytestmark = pytest.mark.usefixtures("third_party")

GRAPH = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
SPECS = Signature((TensorSpec("x", "float32", (2,)),), (TensorSpec("y", "float32", (2,)),))
X = {"x": np.array([-1, 2], np.float32)}
STEPS = ("build", "open", "run")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph" / "model.onnx"
    path.parent.mkdir()
    onnx.save(onnx.parser.parse_model(GRAPH), path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def go(backend: IsolatedBackend, graph: Path, out: Path, options: dict[str, str]) -> dict[str, np.ndarray]:
    artifact = backend.build(graph, SPECS, options, out)
    with backend.open(artifact, out, options) as session:
        return session(X)


def fails(
    target: str, at: str, graph: Path, out: Path, *, patience: float | None = None, memory_limit: int | None = None
) -> CompileError:
    repro = out.parent / "repro"
    with IsolatedBackend(target, repro=repro, memory_limit=memory_limit) as backend:
        if patience is not None:
            backend.ask(None, "prepare", target)  # the start of the child may take long on a busy machine
            backend._timeout = patience
        with pytest.raises(CompileError) as caught:
            go(backend, graph, out, {"at": at})
    assert caught.value.exit_code == 1
    assert caught.value.repro == str(repro)
    assert json.loads((repro / "request.json").read_text())["step"] == at
    return caught.value


def replay(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backends.replay", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))


def test_a_sound_third_party_target_just_works(graph: Path, out: Path) -> None:
    with IsolatedBackend("sound", repro=out / "repro") as backend:
        assert go(backend, graph, out, {})["y"].tolist() == [0, 2]
    assert not (out / "repro").exists()


@pytest.mark.parametrize("at", STEPS)
def test_a_segfault(graph: Path, out: Path, at: str) -> None:
    error = fails("crashing", at, graph, out)
    assert error.code == "runtime-crashed"
    assert "SIGSEGV" in str(error.why)
    assert "about to touch a null pointer" in str(error.why)
    assert replay(out.parent / "repro").returncode == -11
    assert "null pointer" in (out.parent / "repro" / "log.txt").read_text()


@pytest.mark.parametrize("at", STEPS)
def test_an_exception(graph: Path, out: Path, at: str) -> None:
    error = fails("raising", at, graph, out)
    assert error.code == "runtime-raised"
    assert error.why == "ArithmeticError: two and two make five"
    again = replay(out.parent / "repro")
    assert again.returncode == 1
    assert "ArithmeticError: two and two make five" in again.stderr
    assert "in fault" in (out.parent / "repro" / "log.txt").read_text()


@pytest.mark.parametrize("at", STEPS)
def test_a_hang(graph: Path, out: Path, at: str) -> None:
    error = fails("hanging", at, graph, out, patience=2.0)
    assert error.code == "timeout"
    assert "--timeout" in str(error.hint)
    assert "hanging now" in (out.parent / "repro" / "log.txt").read_text()


@pytest.mark.parametrize("at", STEPS)
def test_too_much_memory(graph: Path, out: Path, at: str) -> None:
    error = fails("greedy", at, graph, out, memory_limit=4 * 2**30)
    assert error.code == "out-of-memory"
    assert "--memory-limit" in str(error.hint)
    assert "MemoryError" in replay(out.parent / "repro").stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        ImportError("libruntime.so: failed to map segment from shared object"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_failed_allocation_is_called(error: Exception) -> None:
    def fail() -> None:
        raise error

    kind, answer = worker._answer(fail, ())
    assert kind == "error"
    assert answer.code == "out-of-memory"
    assert "--memory-limit" in answer.hint


def test_bfloat16_inputs_come_back_as_such(tmp_path: Path) -> None:
    x = np.array([1.5, -2.0]).astype(ml_dtypes.bfloat16)
    request = reproduction.Request("onnxruntime", "run", {}, SPECS, inputs={"x": x, "mask": np.array([True])})
    folder = reproduction.write(tmp_path / "repro", request, "")
    again = reproduction._inputs(folder, json.loads((folder / "request.json").read_text())["dtypes"])
    assert {name: array.dtype for name, array in again.items()} == {"x": x.dtype, "mask": np.dtype(bool)}
    assert again["x"].tobytes() == x.tobytes()


@pytest.mark.parametrize("at", STEPS)
def test_a_refusal_in_its_own_words(graph: Path, out: Path, at: str) -> None:
    error = fails("refusing", at, graph, out)
    assert (error.code, error.message) == ("runtime-refused", "no, thank you")


def test_a_replay_that_goes_through_says_so(graph: Path, out: Path) -> None:
    fails("crashing", "run", graph, out)
    request = out.parent / "repro" / "request.json"
    request.write_text(json.dumps(json.loads(request.read_text()) | {"target": "sound"}))
    again = replay(out.parent / "repro")
    assert (again.returncode, again.stdout) == (0, "sound: run went through this time\n")


def test_what_a_backend_logs_while_it_works_reaches_the_user(graph: Path, out: Path) -> None:
    class Listening(SilentProgress):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    with IsolatedBackend("sound", repro=out / "repro", progress=Listening()) as backend:
        backend.build(graph, SPECS, {"at": "build"}, out)
    assert notes == ["half of it is done"]


def test_what_the_user_gave_wrong_leaves_no_repro(graph: Path, out: Path) -> None:
    with IsolatedBackend("sound", repro=out / "repro") as backend:
        artifact = backend.build(graph, SPECS, {}, out)
        with backend.open(artifact, out, {}) as session:
            with pytest.raises(UsageError):
                session({"x": np.zeros(3, np.float32)})
            assert session(X)["y"].tolist() == [0, 2]
    assert not (out / "repro").exists()


def test_after_a_crash_every_further_request_fails_at_once(graph: Path, out: Path) -> None:
    with IsolatedBackend("crashing", repro=out.parent / "repro") as backend:
        for _ in range(2):
            with pytest.raises(CompileError) as caught:
                backend.build(graph, SPECS, {"at": "build"}, out)
            assert caught.value.code == "runtime-crashed"


def test_the_child_is_gone_when_the_backend_is_closed(graph: Path, out: Path) -> None:
    with IsolatedBackend("sound", repro=out / "repro") as backend:
        go(backend, graph, out, {})
        child = backend._child
        assert child.exit_code is None
    assert child.exit_code == 0


def test_a_child_in_the_middle_of_something_is_ended(out: Path) -> None:
    artifact = Artifact("hanging", (), "", SPECS)
    with IsolatedBackend("hanging", repro=out / "repro", timeout=0.01) as backend:
        with pytest.raises(CompileError, match="did not answer"):
            backend.open(artifact, out, {"at": "open"})
        child = backend._child
    assert child.exit_code == -9


def test_a_folder_called_backends_where_the_user_works_changes_nothing(
    graph: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.chdir(tmp_path)
    with IsolatedBackend("sound", repro=out / "repro") as backend:
        assert go(backend, graph, out, {})["y"].tolist() == [0, 2]
