"""compiler.compile(), and what its result can do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MLP_INPUT
from torch import nn

import backends
import compiler
from compiler import api, driver
from compiler import bundle as bundles
from compiler.contracts import SilentProgress
from compiler.errors import CompileError, PlumblineError, UnavailableError, UsageError


class Listening(SilentProgress):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.stages.append(name)


def refused(*arguments: Any, **options: Any) -> PlumblineError:
    with pytest.raises(PlumblineError) as caught:
        compiler.compile(*arguments, **{"target": "onnxruntime", **options})
    return caught.value


def test_a_module_becomes_a_bundle_that_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    heard = Listening()
    result = compiler.compile(
        module, ["input:float32[n=1..4,4]"], target="onnxruntime", output=tmp_path, name="net", progress=heard
    )
    assert result.passed
    assert result.folder == tmp_path / "net.onnxruntime"
    assert heard.stages == ["load", "trace", "capture", "optimize", "lower", "build", "reference", "verify", "write"]
    x = torch.randn(3, 4)
    with result.session(threads=1) as session, torch.no_grad():
        assert session.effective["threads"] == 1
        np.testing.assert_allclose(session({"input": x.numpy()})["output"], module(x).numpy(), rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnxruntime"]


def test_without_verification_nothing_is_claimed(mlp_file: Path, tmp_path: Path) -> None:
    result = compiler.compile(
        f"{mlp_file}:build", [MLP_INPUT], target="onnxruntime", output=tmp_path, verify=False, keep_provenance=False
    )
    assert result.verdict.status == "skipped"
    assert result.manifest["reference"] is None
    assert not (result.folder / bundles.REFERENCE).exists()
    assert "nothing is known about its numbers" in (result.folder / bundles.REPORT).read_text()
    assert b"mlp.py" not in (result.folder / "model.onnx").read_bytes()
    with pytest.raises(CompileError) as caught:
        api.verify(result.folder)
    assert caught.value.code == "no-reference"
    with result.session() as session:
        assert session({"x": np.ones((1, 16), np.float32)})["output"].shape == (1, 4)


def test_options_and_seed_are_written_down_and_used(mlp_file: Path, tmp_path: Path, mlp_bundle: Path) -> None:
    result = compiler.compile(
        f"{mlp_file}:build", [MLP_INPUT], target="onnxruntime", output=tmp_path, seed=7, options={"threads": 1}
    )
    manifest = bundles.read(result.folder).manifest
    assert manifest["options"]["target"] == {"threads": 1}
    assert manifest["reference"]["seed"] == 7
    assert manifest["effective"]["threads"] == 1
    with result.session() as session:
        assert session.effective["threads"] == 1
    other = bundles.read(mlp_bundle).manifest
    assert manifest["files"]["model.onnx"] == other["files"]["model.onnx"]
    assert manifest["files"]["reference/case-0.npz"] != other["files"]["reference/case-0.npz"]


def test_large_weights_lie_in_a_file_of_their_own(
    mlp_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlp_bundle: Path
) -> None:
    monkeypatch.setattr("compiler.ir.store.EXTERNAL_ABOVE", 0)
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="onnxruntime", output=tmp_path)
    assert result.manifest["artifact"]["files"] == ("model.onnx", "model.onnx.data")
    moved = result.folder.rename(tmp_path / "moved")
    assert api.verify(moved).passed
    x = {"x": np.ones((2, 16), np.float32)}
    with backends.load(moved) as session, backends.load(mlp_bundle) as other:
        np.testing.assert_array_equal(session(x)["output"], other(x)["output"])
    (moved / "model.onnx.data").write_bytes(bytes(10))
    with pytest.raises(CompileError, match="not as it was written"):
        backends.load(moved)


def test_a_bundle_verifies(bundle: Path) -> None:
    verdict = api.verify(bundle)
    assert verdict.passed
    assert verdict.cases == 3


def test_a_bundle_is_shown_its_probes_again(bundle: Path) -> None:
    told = [(edge["probe"], edge["same"]) for edge in bundles.read(bundle).manifest["verdict"]["edges"]]
    again = [(edge.probe, edge.same) for edge in api.verify(bundle).edges]
    assert again == told
    assert ("NaN in x", True) in again


def sealed_without(bundle: Path, *keys: str) -> None:
    """As a version would have written it that knew less."""
    manifest = json.loads(json.dumps(bundles.read(bundle).manifest))
    *path, last = keys
    part = manifest
    for key in path:
        part = part[key]
    del part[last]
    bundles.seal(bundle, {key: value for key, value in manifest.items() if key not in ("schema", "files")})


def test_a_bundle_that_says_nothing_of_terms_is_held_to_the_budget(bundle: Path) -> None:
    sealed_without(bundle, "terms")
    assert api.verify(bundle).passed


@pytest.mark.parametrize(
    "keys",
    [
        ("terms", "files"),
        ("reference", "ranges"),
        ("reference", "effort"),
        ("reference", "inputs"),
        ("verdict",),
        ("artifact", "files"),
    ],
)
def test_a_bundle_of_another_version_is_told_as_such(bundle: Path, keys: tuple[str, ...]) -> None:
    sealed_without(bundle, *keys)
    with pytest.raises(CompileError) as caught:
        api.verify(bundle)
    assert caught.value.code == "broken-bundle"
    assert keys[-1] in str(caught.value.why)


def test_a_bundle_of_another_version_is_not_timed(bundle: Path) -> None:
    from compiler.bench.subject import read

    sealed_without(bundle, "reference", "ranges")
    with pytest.raises(CompileError) as caught:
        read([bundle], None)
    assert caught.value.code == "broken-bundle"


def test_a_bundle_with_a_thinned_reference_verifies(
    mlp_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.validate.stored.LIMIT", 0)
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="onnxruntime", output=tmp_path)
    assert not list((result.folder / bundles.REFERENCE).glob("case-0.npz/input*"))
    assert api.verify(result.folder).passed


def test_a_bundle_whose_numbers_changed_does_not_verify(bundle: Path) -> None:
    """The same graph with one weight changed, sealed anew as a careless tool might."""
    import onnx

    model = onnx.load(bundle / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, bundle / "model.onnx")
    with pytest.raises(CompileError, match="not as it was written"):
        api.verify(bundle)
    manifest = dict(bundles.read(bundle).manifest)
    bundles.seal(bundle, {key: value for key, value in manifest.items() if key not in ("schema", "files")})
    verdict = api.verify(bundle)
    assert verdict.status == "failed"
    assert verdict.worst is not None


@pytest.mark.usefixtures("third_party")
def test_numbers_that_differ_are_kept_apart_and_the_good_bundle_stays(mlp_file: Path, tmp_path: Path) -> None:
    source = f"{mlp_file}:build"
    good = compiler.compile(source, [MLP_INPUT], target="wrong", output=tmp_path, verify=False)
    before = (good.folder / bundles.MANIFEST).read_bytes()
    result = compiler.compile(source, [MLP_INPUT], target="wrong", output=tmp_path)
    assert not result.passed
    assert result.folder.name == "mlp.wrong.rejected"
    assert (good.folder / bundles.MANIFEST).read_bytes() == before
    assert "REJECTED" in (result.folder / bundles.REPORT).read_text()
    worst = result.verdict.worst
    assert worst is not None and worst.worst is not None
    assert worst.worst.got - worst.worst.want == pytest.approx(0.01, abs=1e-5)
    with pytest.raises(CompileError) as caught:
        result.session()
    assert caught.value.code == "rejected-bundle"
    backends.load(result.folder, trust=True).close()


@pytest.mark.usefixtures("third_party")
def test_a_target_that_is_not_there_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    error = refused("no/such/model.pt", target="absent", output=tmp_path)
    assert isinstance(error, UnavailableError)
    assert (error.code, error.exit_code, error.hint) == ("target-unavailable", 4, "fly there")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("third_party")
def test_what_cannot_run_here_is_built_and_its_graph_is_proven(mlp_file: Path, tmp_path: Path) -> None:
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="homeless", output=tmp_path)
    assert result.verdict.status == "not run"
    assert [output.passed for output in result.verdict.outputs] == [True]
    assert result.verdict.cases >= 2
    assert result.manifest["effective"] == {"runs": "not here: no moon here"}
    report = (result.folder / bundles.REPORT).read_text()
    assert "BUILT, NOT RUN" in report
    assert "no moon here" in report


@pytest.mark.usefixtures("third_party")
def test_without_verification_nothing_is_claimed_of_what_cannot_run(mlp_file: Path, tmp_path: Path) -> None:
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="homeless", output=tmp_path, verify=False)
    assert (result.verdict.status, result.verdict.outputs) == ("not run", ())
    assert "nothing is known about its numbers" in (result.folder / bundles.REPORT).read_text()


@pytest.mark.usefixtures("third_party")
def test_a_wrong_graph_is_caught_where_nothing_can_run(mlp_file: Path, tmp_path: Path) -> None:
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="faithless", output=tmp_path)
    assert not result.passed
    assert result.folder.name == "mlp.faithless.rejected"


@pytest.mark.usefixtures("third_party")
def test_what_must_run_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    error = refused("no/such/model.pt", target="homeless", output=tmp_path, require_run=True)
    assert (error.code, error.exit_code, error.why) == ("cannot-run-here", 4, "no moon here")


@pytest.mark.usefixtures("third_party")
def test_a_crash_of_the_runtime_names_its_repro_and_leaves_no_bundle(mlp_file: Path, tmp_path: Path) -> None:
    error = refused(f"{mlp_file}:build", [MLP_INPUT], target="crashing", options={"at": "run"}, output=tmp_path)
    assert error.code == "runtime-crashed"
    assert error.repro == str(tmp_path / "mlp.crashing.repro")
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.crashing.repro"]


@pytest.mark.usefixtures("third_party")
def test_a_runtime_that_hangs_is_stopped(mlp_file: Path, tmp_path: Path) -> None:
    error = refused(
        f"{mlp_file}:build", [MLP_INPUT], target="hanging", options={"at": "build"}, output=tmp_path, timeout=2.0
    )
    assert error.code == "timeout"


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ({"target": "onnxruntme"}, "unknown-target", "did you mean 'onnxruntime'?"),
        ({"effort": "quik"}, "bad-option", "did you mean 'quick'?"),
        ({"options": {"thread": 1}}, "unknown-option", "did you mean 'threads'?"),
        ({"inputs": ["x:float32[n=8..1]"]}, "bad-input-spec", "did you mean n=1..8?"),
    ],
)
def test_what_is_mistyped_is_told_before_the_model_is_looked_at(
    tmp_path: Path, arguments: Mapping[str, Any], code: str, hint: str
) -> None:
    error = refused("no/such/model.pt", output=tmp_path, **arguments)
    assert isinstance(error, UsageError)
    assert (error.code, error.hint) == (code, hint)


def test_inputs_in_order_need_names(tmp_path: Path, mlp_file: Path) -> None:
    error = refused(f"{mlp_file}:build", [torch.ones(2, 16)], output=tmp_path)
    assert error.code == "inputs-unnamed"


def test_more_inputs_than_the_model_takes(tmp_path: Path) -> None:
    error = refused(nn.Linear(2, 2), [torch.ones(2), torch.ones(2)], output=tmp_path)
    assert (error.code, error.message) == ("input-mismatch", "2 inputs were given, and the model takes 1")


def test_any_number_of_inputs_in_order(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, first: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            return first + sum(rest)

    result = compiler.compile(Sum(), [torch.ones(2)] * 3, target="onnxruntime", output=tmp_path)
    names = [spec["name"] for spec in result.manifest["artifact"]["signature"]["inputs"]]
    assert names == ["first", "rest.0", "rest.1"]
    error = refused(Sum(), ["first:float32[2]", "rest:float32[2]"], output=tmp_path)
    assert (error.code, error.hint) == ("bad-input-spec", "call them rest.0, rest.1 and so on")


@pytest.mark.parametrize("stage", ["seal", "publish"])
def test_a_disk_that_fills_up_while_writing_loses_nothing(
    mlp_file: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles, stage, full)
    error = refused(f"{mlp_file}:build", [MLP_INPUT], output=bundle.parent)
    assert (error.code, error.exit_code) == ("cannot-write", 1)
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("stage", ["_compute", "capture", "lower", "judge_either_way"])
def test_an_interrupt_anywhere_leaves_the_previous_bundle(
    mlp_file: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, stage, interrupted)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # the reference is computed here, not in a child
    with pytest.raises(KeyboardInterrupt):
        compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="onnxruntime", output=bundle.parent)
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    assert api.verify(bundle).passed


def test_a_bundle_is_no_model(bundle: Path, tmp_path: Path) -> None:
    error = refused(bundle, output=tmp_path)
    assert error.code == "already-compiled"


def test_the_reference_that_crashes_is_told(tmp_path: Path) -> None:
    class Crashing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.compiler.is_compiling():
                import os

                if os.getpid() != parent:
                    os._exit(3)
            return x + 1

    import os

    parent = os.getpid()
    error = refused(Crashing(), ["x:float32[2]"], output=tmp_path)
    assert error.code == "reference-crashed"
    assert "3" in str(error.why)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_a_bundle_is_the_bundle(bundle: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(bundle, tmp_path / "copy")
    assert api.verify(copied).passed
