"""The manifest: little is needed, and what has no meaning is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.check import manifest
from compiler.check.manifest import Entry, Manifest
from compiler.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = '[net]\nmodel = "net.py:build"\ninputs = ["x:float32[2]"]\ntargets = ["onnxruntime"]\n'


def read(folder: Path, text: str, **settings: Any) -> Manifest:
    (folder / "parity.toml").write_text(text)
    return manifest.read(folder / "parity.toml", **settings)


def only(found: Manifest) -> Entry:
    (entry,) = found.entries
    return entry


def test_four_lines_are_enough(tmp_path: Path) -> None:
    entry = only(read(tmp_path, MINIMAL))
    assert entry == Entry(
        "net", f"{tmp_path}/net.py:build", ("onnxruntime",), inputs=("x:float32[2]",), effort="normal", line=1
    )


def test_what_holds_for_all_models_gives_way_to_what_a_model_says(tmp_path: Path) -> None:
    shared = '[check]\ntargets = ["openvino"]\neffort = "quick"\nseed = 3\n\n'
    found = read(tmp_path, shared + MINIMAL + '\n[other]\nmodel = "other.py:build"\nseed = 4\n')
    assert [(entry.targets, entry.effort, entry.seed, entry.line) for entry in found.entries] == [
        (("onnxruntime",), "quick", 3, 6),
        (("openvino",), "quick", 4, 11),
    ]
    assert [entry.effort for entry in read(tmp_path, shared + MINIMAL, effort="thorough").entries] == ["thorough"]


def test_files_are_looked_for_beside_the_manifest_and_above(tmp_path: Path) -> None:
    inner = tmp_path / "ci"
    inner.mkdir()
    (tmp_path / "net.py").touch()
    (tmp_path / "data.npz").touch()
    text = MINIMAL + 'data = "data.npz"\nfactory = "net.py:Net"\nfiles = ["*.toml"]\n'
    entry = only(read(inner, text))
    assert entry.model == f"{tmp_path}/net.py:build"
    assert entry.data == tmp_path / "data.npz"
    assert entry.factory == f"{tmp_path}/net.py:Net"
    assert entry.files == (inner / "parity.toml",)
    assert only(read(inner, MINIMAL.replace("net.py:build", "package.module:build"))).model == "package.module:build"
    assert only(read(inner, MINIMAL.replace("net.py:build", "data.npz"))).model == f"{tmp_path}/data.npz"


@pytest.mark.parametrize("size", [None, "full", "small"])
def test_the_zoo_is_a_manifest(size: str | None) -> None:
    found = {entry.name: entry for entry in manifest.read(ROOT / "models" / "zoo.toml", size=size).entries}
    assert len(found) > 20
    assert "check" not in found
    bert = found["bert"]
    small = size != "full"
    assert bert.model == f"{ROOT}/models/bert.py:{'small' if small else 'build'}"
    assert bert.inputs[0] == f"input_ids:int64[batch=1..8,seq=8..{64 if small else 256}]"
    assert bert.expect["Attention"] == (2 if small else 12)
    assert bert.may_only_be_built == ("tensorrt",)
    assert found["digits_cnn"].model.endswith("digits_cnn.py:build")
    for entry in found.values():
        assert (ROOT / "models" / "zoo.toml").read_text().splitlines()[entry.line - 1] == f"[{entry.name}]"


def test_what_was_asked_for_is_left(tmp_path: Path) -> None:
    found = read(tmp_path, MINIMAL + '\n[other]\nmodel = "other.py:build"\ntargets = ["tvm", "onnxruntime"]\n')
    assert [(one.name, one.targets) for one in found.chosen([], [])] == [
        ("net", ("onnxruntime",)),
        ("other", ("tvm", "onnxruntime")),
    ]
    assert [(one.name, one.targets) for one in found.chosen([], ["tvm"])] == [("other", ("tvm",))]
    assert [one.name for one in found.chosen(["net"], [])] == ["net"]
    for only_these, targets, code in ((["nett"], [], "unknown-model"), (["net"], ["tvm"], "nothing-to-check")):
        with pytest.raises(UsageError) as caught:
            found.chosen(only_these, targets)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[net\n", "it is no TOML"),
        ("net = 3\n", "'net' stands outside of any model"),
        ('[net]\nmodel = "net.py:build"\n', "no targets are given"),
        ('[net]\ntargets = ["tvm"]\n', "no model is given"),
        ('[net]\nfile = "net.py"\nsmall = "build"\ntargets = ["tvm"]\n', "no model is given"),
        (MINIMAL + 'input = ["x:float32[2]"]\n', "there is no 'input'"),
        (MINIMAL + "seed = -1\n", "'seed' must be a whole number, not -1"),
        (MINIMAL + "trust = 1\n", "'trust' must be true or false, not 1"),
        (MINIMAL + 'expect = "Attention=2"\n', "'expect' must be operators with how many of each"),
        (MINIMAL + "options = { threads = 2 }\n", "'options' must be a table for each target"),
        (MINIMAL + 'known_failures = ["tvm"]\n', "'known_failures' must be targets with the reason of each"),
        (MINIMAL + 'files = ["*.nothing"]\n', "nothing is called '*.nothing'"),
        ('[check]\nsize = "huge"\n' + MINIMAL, "there is no size 'huge'"),
        ("[check]\ntarget = 3\n" + MINIMAL, "there is no 'target'"),
        ("check = 3\n" + MINIMAL, "'check' is the table that speaks for all models"),
    ],
)
def test_what_has_no_meaning_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert caught.value.code == "bad-manifest"
    assert said in caught.value.message


def test_a_contract_and_tolerances(tmp_path: Path) -> None:
    (tmp_path / "close.py").touch()
    text = MINIMAL + 'contract = ["y:top1>=0.99", "y:close.py:near>=0.5", "close.py:same"]\natol = 1e-3\nrtol = 0\n'
    entry = only(read(tmp_path, text))
    assert entry.contract == ("y:top1>=0.99", f"y:{tmp_path}/close.py:near>=0.5", f"{tmp_path}/close.py:same")
    assert (entry.atol, entry.rtol) == (1e-3, 0)


def test_what_a_model_draws_may_be_lifted(tmp_path: Path) -> None:
    assert [entry.lift_random for entry in read(tmp_path, MINIMAL + "lift_random = true\n").entries] == [True]
    assert [entry.lift_random for entry in read(tmp_path, MINIMAL).entries] == [False]


@pytest.mark.parametrize("line", ['atol = "small"', "rtol = -1", "atol = nan", 'contract = "cosine>=0.9"'])
def test_what_is_no_contract_or_tolerance(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, f"{MINIMAL}{line}\n")
    assert caught.value.code == "bad-manifest"
