"""What is asked of the verdict travels: from the command line into the manifest, and from there into `verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import MLP_INPUT, Cli

import compiler
from compiler import api, terms
from compiler import bundle as bundles
from compiler.errors import PlumblineError

FUNCTIONS = """\
import numpy as np


def off(got, want):
    return np.abs(got - want).max()


def near(got, want):
    return bool(off(got, want) < 0.1)


def broken(got, want):
    return got["logits"]


nothing = 3
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("close.py").write_text(FUNCTIONS)
    return "close.py"


def compiled(mlp_file: Path, folder: Path, target: str = "wrong", **settings: Any) -> compiler.Result:
    return compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target=target, output=folder / "out", **settings)


def refused(mlp_file: Path, folder: Path, **settings: Any) -> PlumblineError:
    with pytest.raises(PlumblineError) as caught:
        compiled(mlp_file, folder, "onnxruntime", **settings)
    assert not list((folder / "out").glob("*")), "a bundle was left"
    return caught.value


@pytest.mark.usefixtures("third_party")
def test_a_contract_accepts_what_the_budget_would_not_and_says_so(mlp_file: Path, tmp_path: Path) -> None:
    result = compiled(mlp_file, tmp_path, contract=["output:cosine>=0.99", "psnr>=20"])
    assert result.passed
    (output,) = result.verdict.outputs
    assert output.decided == "contract"
    assert output.used > 100
    assert result.manifest["terms"]["contract"] == ["output:cosine>=0.99", "psnr>=20"]
    report = (result.folder / bundles.REPORT).read_text()
    assert "IN PLACE OF the error budget" in report
    assert "| output | `psnr>=20` | kept |" in report
    verdict = api.verify(result.folder)
    assert verdict.passed
    assert verdict.outputs[0].promises == output.promises


@pytest.mark.usefixtures("third_party")
def test_a_contract_that_is_not_kept_rejects(mlp_file: Path, tmp_path: Path) -> None:
    result = compiled(mlp_file, tmp_path, contract="psnr>=120")
    assert (result.passed, result.folder.name) == (False, "mlp.wrong.rejected")
    assert "**BROKEN**" in (result.folder / bundles.REPORT).read_text()
    assert not api.verify(result.folder).passed


@pytest.mark.usefixtures("third_party")
def test_a_tolerance_is_recorded_as_what_it_is(mlp_file: Path, tmp_path: Path) -> None:
    result = compiled(mlp_file, tmp_path, atol=0.02)
    assert result.passed
    assert result.verdict.outputs[0].decided == "tolerance"
    assert (result.manifest["terms"]["atol"], result.manifest["terms"]["rtol"]) == (0.02, None)
    assert any("in place of the error budget" in note for note in result.verdict.notes)
    assert api.verify(result.folder).passed
    assert not compiled(mlp_file, tmp_path, atol=0.001).passed


@pytest.mark.usefixtures("third_party")
def test_a_function_of_ones_own_is_trusted_only_when_it_is_said_and_the_same(
    mlp_file: Path, tmp_path: Path, functions: str
) -> None:
    result = compiled(mlp_file, tmp_path, contract=[f"{functions}:near", f"output:{functions}:off<=0.1"])
    assert result.passed
    assert [round(promise.worst, 4) for promise in result.verdict.outputs[0].promises] == [1.0, 0.01]
    with pytest.raises(PlumblineError) as caught:
        api.verify(result.folder)
    assert caught.value.code == "untrusted-code"
    assert api.verify(result.folder, trust=True).passed
    Path(functions).write_text(FUNCTIONS + "\n")
    with pytest.raises(PlumblineError) as caught:
        api.verify(result.folder, trust=True)
    assert (caught.value.code, caught.value.why) == ("contract-lost", "it was changed")
    Path(functions).unlink()
    with pytest.raises(PlumblineError) as caught:
        api.verify(result.folder, trust=True)
    assert (caught.value.code, caught.value.why) == ("contract-lost", "it is not there")


def test_a_function_that_raises_is_named_with_its_line(mlp_file: Path, tmp_path: Path, functions: str) -> None:
    error = refused(mlp_file, tmp_path, contract=f"{functions}:broken")
    assert error.code == "contract-raised"
    assert error.where is not None and "close.py:13" in error.where


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"contract": "close.py:nothing"}, "bad-contract"),
        ({"contract": "close.py:nowhere"}, "no-such-factory"),
        ({"contract": "logits:cosine>=0.9"}, "bad-contract"),
        ({"contract": "cosine"}, "bad-contract"),
        ({"atol": -1.0}, "bad-option"),
        ({"contract": "cosine>=0.9", "verify": False}, "bad-option"),
        ({"rtol": 0.1, "verify": False}, "bad-option"),
    ],
)
@pytest.mark.usefixtures("functions")
def test_what_makes_no_sense_is_told_before_anything_is_built(
    mlp_file: Path, tmp_path: Path, settings: dict[str, Any], code: str
) -> None:
    error = refused(mlp_file, tmp_path, **settings)
    assert (error.code, int(error.exit_code)) == (code, 2)


def test_what_was_asked_for_comes_back_from_the_manifest(functions: str) -> None:
    asked = terms.asked(["a:kl<=0.1", f"{functions}:near"], 1e-3, 1e-4, strict_edges=True)
    recorded = json.loads(json.dumps(terms.to_json(asked)))
    assert list(recorded["files"]) == [functions]
    assert terms.from_json(recorded, trust=True) == asked


def test_on_the_command_line(cli: Cli, mlp_file: Path, functions: str) -> None:
    asked = ["--contract", "cosine>=0.999", "--contract", f"output:{functions}:near"]
    done = cli(f"{mlp_file}:build", "-t", "onnxruntime", "-i", MLP_INPUT, *asked)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "keeps the contract that was asked for IN PLACE OF the error budget" in said
    done = cli("verify", "build/mlp.onnxruntime", "--trust")
    assert done.returncode == 0, done.stderr
    assert "still keeps the contract that it was compiled with: 3 cases" in " ".join(done.stdout.split())
