"""What is found again in the cache, and what is not."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from compiler import cache
from compiler.bundle import sha256
from compiler.check.cells import Figures, Measured, Numbers, failed
from compiler.check.kept import Kept
from compiler.check.manifest import Entry
from compiler.check.touched import Touched
from compiler.contracts import Ready
from compiler.errors import CompileError

HOST = {"machine": "x86_64", "cpu_features": ["avx2"]}
READY = Ready("onnxruntime 1.31.1", ("cpu",))
FIGURES = Figures("float32", True, 1000, {"Gelu": 1}, {"torch": "2.13.0"}, {"y": Numbers(0.1, 0.9, 1e-6)})
MEASURED = Measured("passed", FIGURES, declined={"fuse-gelu": ("a", "b")}, notes=("a note",), seconds=3.0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ROOT, str(tmp_path / "cache"))


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    (tmp_path / "net.py").write_text("build = None\n")
    (tmp_path / "helper.py").write_text("\n")
    return Entry("net", f"{tmp_path}/net.py:build", ("onnxruntime", "tvm"), inputs=("x:float32[2]",))


def kept(entry: Entry, folder: Path, measured: Measured = MEASURED) -> Kept:
    found = Kept(folder, HOST)
    helper = folder / "helper.py"
    found.keep(entry, "onnxruntime", READY, measured, {str(helper): sha256(helper)})
    return found


def test_what_has_not_changed_is_found_and_says_that_it_was_kept(entry: Entry, tmp_path: Path) -> None:
    found = kept(entry, tmp_path).find(entry, "onnxruntime", READY)
    assert found == replace(MEASURED, cached=True)


def test_how_a_result_is_judged_is_no_reason_to_compile(entry: Entry, tmp_path: Path) -> None:
    other = replace(
        entry,
        targets=("onnxruntime",),
        expect={"Gelu": 3},
        may_only_be_built=("tvm",),
        known_failures={"tvm": "?"},
        line=9,
    )
    assert kept(entry, tmp_path).find(other, "onnxruntime", READY) is not None


def test_a_project_that_was_moved_keeps_its_results(entry: Entry, tmp_path: Path) -> None:
    kept(entry, tmp_path)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("net.py", "helper.py"):
        (moved / name).write_bytes((tmp_path / name).read_bytes())
    there = replace(entry, model=f"{moved}/net.py:build")
    assert Kept(moved, HOST).find(there, "onnxruntime", READY) is not None


def test_anything_that_it_depends_on_makes_another_result(entry: Entry, tmp_path: Path) -> None:
    found = kept(entry, tmp_path)
    named = tmp_path / "weights.bin"
    named.touch()
    for other in (
        replace(entry, inputs=("x:float32[3]",)),
        replace(entry, options={"onnxruntime": {"threads": 1}}),
        replace(entry, effort="quick"),
        replace(entry, seed=1),
        replace(entry, files=(named,)),
    ):
        assert found.find(other, "onnxruntime", READY) is None
    assert found.find(replace(entry, options={"tvm": {"threads": 1}}), "onnxruntime", READY) is not None
    assert found.find(entry, "tvm", READY) is None
    assert found.find(entry, "onnxruntime", Ready("onnxruntime 1.32.0", ("cpu",))) is None
    assert found.find(entry, "onnxruntime", replace(READY, runs=False)) is None
    assert Kept(tmp_path, {**HOST, "cpu_features": []}).find(entry, "onnxruntime", READY) is None


@pytest.mark.parametrize("name", ["net.py", "helper.py"])
def test_a_file_that_changed_or_is_gone_makes_another_result(name: str, entry: Entry, tmp_path: Path) -> None:
    found = kept(entry, tmp_path)
    (tmp_path / name).write_text("changed = True\n")
    assert found.find(entry, "onnxruntime", READY) is None
    (tmp_path / name).unlink()
    assert found.find(entry, "onnxruntime", READY) is None


def test_a_failure_is_not_kept(entry: Entry, tmp_path: Path) -> None:
    for failure in (failed(CompileError("export-failed", "no")), Measured("failed", FIGURES, why={"y": "off"})):
        assert kept(entry, tmp_path, failure).find(entry, "onnxruntime", READY) is None


def test_without_a_cache_nothing_is_found(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ROOT, "off")
    assert kept(entry, tmp_path).find(entry, "onnxruntime", READY) is None


# -- which files were read --------------------------------------------------------------------------------------


@contextmanager
def heard(*apart: Path) -> Iterator[Touched]:
    """Hears what the block does. A hook cannot be taken off again, so it is told when to stop."""
    found, listening = Touched(*apart), [True]
    sys.addaudithook(lambda event, arguments: found.hear(event, arguments) if listening else None)
    yield found
    listening.clear()


def test_modules_and_data_are_heard_of_and_outputs_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_users_module.py").write_text("VALUE = 1\n")
    (tmp_path / "weights.bin").write_bytes(b"weights")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "model.onnx").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with heard(tmp_path / "output") as found:
        importlib.import_module("a_users_module")
        (tmp_path / "weights.bin").read_bytes()
        (tmp_path / "output" / "model.onnx").read_bytes()
        (tmp_path / "written.txt").write_text("only written")
    here = {Path(name).name: digest for name, digest in found.files().items() if name.startswith(str(tmp_path))}
    assert here.keys() == {"a_users_module.py", "weights.bin"}
    assert here["weights.bin"] == sha256(tmp_path / "weights.bin")


def test_a_module_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "another_users_module.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("another_users_module")
    del sys.modules["another_users_module"]
    with heard() as found:
        importlib.import_module("another_users_module")  # from its compiled form
    assert {Path(name).name for name in found.files() if name.startswith(str(tmp_path))} == {"another_users_module.py"}


def test_what_is_installed_is_known_by_its_version(tmp_path: Path) -> None:
    place = tmp_path / "dist-packages" / "library.py"
    place.parent.mkdir()
    place.touch()
    found = Touched()
    found.hear("open", (str(place), "r", 0))
    found.hear("open", (json.__file__, "r", 0))
    assert found.files() == {}
