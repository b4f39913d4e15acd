"""The artifact directory: whole or not there at all, and nothing in it that was not vouched for."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
from backends import host
from compiler import bundle as bundles
from compiler.contracts import Dim, Signature, TensorSpec
from compiler.errors import CompileError, PlumblineError, UnavailableError, UsageError

ONES = {"x": np.ones((2, 16), np.float32)}


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest; nobody hashes the manifest itself."""
    manifest = json.loads((folder / bundles.MANIFEST).read_text())
    change(manifest)
    (folder / bundles.MANIFEST).write_text(json.dumps(manifest))


def refusal(folder: Path, **options: Any) -> PlumblineError:
    with pytest.raises(PlumblineError) as caught:
        backends.load(folder, **options)
    return caught.value


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- loading ----------------------------------------------------------------------------------------------------


def test_the_manifest_says_where_everything_comes_from(mlp_bundle: Path, mlp_file: Path) -> None:
    manifest = bundles.read(mlp_bundle).manifest
    assert manifest["schema"] == bundles.SCHEMA
    assert manifest["source"]["sha256"] == bundles.sha256(mlp_file)
    assert {"torch", "onnxruntime", "numpy", "python"} <= manifest["versions"].keys()
    assert manifest["effective"]["providers"] == ["CPUExecutionProvider"]
    assert manifest["verdict"]["status"] == "passed"
    assert manifest["artifact"]["signature"]["inputs"][0]["dims"][0] == {"name": "batch", "lo": 1, "hi": 8, "step": 1}
    assert "fold-constants" in [record["name"] for record in manifest["passes"]]
    on_disk = {path.relative_to(mlp_bundle).as_posix() for path in mlp_bundle.rglob("*") if path.is_file()}
    assert on_disk == {*manifest["files"], bundles.MANIFEST}


def test_a_moved_bundle_loads(bundle: Path, tmp_path: Path) -> None:
    moved = bundle.rename(tmp_path / "elsewhere")
    with backends.load(moved) as session:
        assert session(ONES)["output"].shape == (2, 4)


@pytest.mark.parametrize("name", ["model.onnx", "report.md", "report.html", "reference/case-0.npz"])
def test_one_flipped_bit_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    error = refusal(bundle)
    assert (error.code, error.exit_code) == ("bundle-changed", 1)
    assert name in str(error.why)


def test_a_longer_file_is_refused(bundle: Path) -> None:
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert refusal(bundle).code == "bundle-changed"


def test_a_missing_file_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    assert refusal(bundle).why == "model.onnx is missing"


def test_a_link_to_the_very_same_bytes_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "model.onnx").rename(tmp_path / "model.onnx")
    (bundle / "model.onnx").symlink_to(tmp_path / "model.onnx")
    assert refusal(bundle).code == "bundle-changed"


def test_a_file_that_the_manifest_does_not_vouch_for_is_refused(bundle: Path) -> None:
    rewrite(bundle, lambda manifest: manifest["files"].pop("model.onnx"))
    assert refusal(bundle).why == "model.onnx is not vouched for"


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/passwd"])
def test_a_file_outside_the_bundle_is_refused(bundle: Path, name: str) -> None:
    outside = bundle.parent / "outside.onnx"
    outside.write_bytes((bundle / "model.onnx").read_bytes())
    path = bundle / name
    facts = {"sha256": bundles.sha256(path), "bytes": path.stat().st_size}
    rewrite(bundle, lambda manifest: manifest["files"].update({name: facts}))
    rewrite(bundle, lambda manifest: manifest["artifact"].update(files=[name]))
    assert refusal(bundle).code == "bundle-changed"


@pytest.mark.parametrize("schema", [None, "plumbline-bundle/99", 7])
def test_another_schema_is_refused(bundle: Path, schema: object) -> None:
    rewrite(bundle, lambda manifest: manifest.update(schema=schema))
    error = refusal(bundle)
    assert error.code == "broken-bundle"
    assert repr(schema) in str(error.why)


@pytest.mark.parametrize("text", ["", "{", "[]", '"a"', "\xff\xfe"])
def test_an_unreadable_manifest_is_told(bundle: Path, text: str) -> None:
    (bundle / bundles.MANIFEST).write_text(text, encoding="latin-1")
    assert refusal(bundle).code == "broken-bundle"


@pytest.mark.parametrize("part", ["files", "artifact", "verdict", "host"])
def test_a_manifest_that_lacks_a_part_is_told(bundle: Path, part: str) -> None:
    rewrite(bundle, lambda manifest: manifest.pop(part))
    assert refusal(bundle).code == "broken-bundle"


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "not-a-bundle"
    assert "there is no bundle" in refusal(tmp_path / "nothing").message


def test_a_rejected_bundle_needs_trust(bundle: Path) -> None:
    rewrite(bundle, lambda manifest: manifest["verdict"].update(status="failed"))
    assert refusal(bundle).code == "rejected-bundle"
    with backends.load(bundle, trust=True) as session:
        assert session(ONES)["output"].shape == (2, 4)


# -- the machine it was built for -------------------------------------------------------------------------------


def native(features: list[str]) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["artifact"].update(facts={"native_code": True, "cpu_features": features})


def test_native_code_for_a_better_cpu_is_refused(bundle: Path) -> None:
    rewrite(bundle, native(["avx9000"]))
    error = refusal(bundle)
    assert isinstance(error, UnavailableError)
    assert (error.code, error.exit_code) == ("other-cpu", 4)
    assert "avx9000" in str(error.why)


def test_native_code_for_another_architecture_is_refused(bundle: Path) -> None:
    rewrite(bundle, native([]))
    rewrite(bundle, lambda manifest: manifest["host"].update(machine="riscv64"))
    assert refusal(bundle).code == "other-cpu"


def test_native_code_for_this_cpu_loads(bundle: Path) -> None:
    rewrite(bundle, native(host.facts()["cpu_features"]))
    backends.load(bundle).close()


def test_another_runtime_version_is_told(bundle: Path) -> None:
    rewrite(bundle, lambda manifest: manifest["artifact"].update(runtime="onnxruntime 1.0.0"))
    with pytest.warns(UserWarning, match=r"verified with onnxruntime 1\.0\.0"):
        backends.load(bundle).close()


# -- writing ----------------------------------------------------------------------------------------------------


def stage(place: Path, content: str) -> Path:
    with bundles.staged(place) as folder:
        (folder / "model").write_text(content)
        bundles.seal(folder, {"verdict": {"status": "passed"}})
        return bundles.publish(folder, place)


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), bundles.staged(tmp_path / "b") as folder:
        (folder / "half").write_text("done")
        raise ZeroDivisionError
    assert entries(tmp_path) == []


def test_a_new_bundle_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    stage(tmp_path / "b", "old")
    stage(tmp_path / "b", "new")
    assert (tmp_path / "b" / "model").read_text() == "new"
    assert entries(tmp_path) == ["b"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "the disk is gone"), KeyboardInterrupt()])
def test_whatever_goes_wrong_at_the_last_moment_keeps_the_previous_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stage(tmp_path / "b", "old")
    rename = Path.rename

    def refuse_the_new_one(path: Path, goal: Path) -> Path:
        if ".partial-" in path.name:
            raise error
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(type(error)):
        stage(tmp_path / "b", "new")
    assert (tmp_path / "b" / "model").read_text() == "old"
    assert entries(tmp_path) == ["b"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("two years of work")
    with pytest.raises(UsageError) as caught:
        stage(tmp_path / "b", "new")
    assert caught.value.code == "not-a-bundle"
    assert entries(tmp_path / "b") == ["thesis.tex"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path, number: int) -> None:
    stage(tmp_path / "b", "old")
    with pytest.raises(CompileError) as caught, bundles.staged(tmp_path / "b"):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == "cannot-write"
    assert caught.value.why == os.strerror(number)
    assert entries(tmp_path) == ["b"]


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompileError) as caught, bundles.staged(tmp_path / "file" / "b"):
        raise AssertionError("not reached")
    assert caught.value.code == "cannot-write"


def test_a_file_size_limit_in_the_middle_of_a_compilation_is_told(mlp_file: Path, bundle: Path) -> None:
    """The nearest that a test comes to a disk that really is full: writing fails after the first few bytes."""
    before = bundles.sha256(bundle / "model.onnx")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "import sys; from compiler.cli import main; main()"),
            *(f"{mlp_file}:build", "--target", "onnxruntime", "--input", "x:float32[2,16]"),
            *("--output", str(bundle.parent), "--name", "mlp"),
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "error[cannot-write]" in done.stderr
    assert "Traceback" not in done.stderr
    assert entries(bundle.parent) == [bundle.name]
    assert bundles.sha256(bundle / "model.onnx") == before


def test_leftovers_of_a_killed_run_go_after_a_day_and_not_before(tmp_path: Path) -> None:
    old, young, other = tmp_path / ".b.partial-1", tmp_path / ".b.partial-2", tmp_path / ".c.partial-1"
    for folder in (old, young, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (time.time() - 2 * 24 * 3600,) * 2)
    bundles.remove_leftovers(tmp_path / "b")
    assert entries(tmp_path) == [young.name, other.name]


def test_signatures_survive_json() -> None:
    x = TensorSpec("x", "float32", (Dim("batch", 1, 8), Dim("h", 64, 512, 32), 3))
    signature = Signature((x, TensorSpec("scalar", "bool", ())), (TensorSpec("y", "bfloat16", ("2*batch", 0)),))
    data = json.loads(json.dumps(bundles.signature_to_json(signature)))
    assert bundles.signature_from_json(data) == signature
