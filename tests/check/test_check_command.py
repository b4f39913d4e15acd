"""`compile check` as a build server runs it: real processes, a manifest of small models, and things that go wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import COMPILE, THIRD_PARTY

DRIFTING = Path(__file__).parent / "third_party"

NETS = """\
import os
import torch
from activations import activation


class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = torch.nn.Linear(16, width), torch.nn.Linear(width, 4)

    def forward(self, x):
        return self.down(activation(self.up(x)))


def narrow():
    torch.manual_seed(0)
    return Net(16)
"""
OTHER = """\
import torch


def wide():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
"""
MANIFEST = """\
[check]
effort = "quick"

[narrow]
model = "nets.py:narrow"
inputs = ["x:float32[batch=1..8,16]"]
targets = ["onnxruntime", "drifting"]

[wide]
model = "other.py:wide"
inputs = ["input:float32[batch=1..8,16]"]
targets = ["onnxruntime", "homeless"]
may_only_be_built = ["homeless"]
"""

Done = subprocess.CompletedProcess[str]


def in_folder(folder: Path, *arguments: str, **environment: str) -> Done:
    path = os.pathsep.join(map(str, (DRIFTING, THIRD_PARTY)))
    cache = {"PLUMBLINE_CACHE": str(folder / "cache")}
    return subprocess.run(
        [COMPILE, "check", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **cache, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A project whose lock has been written, with a cache that knows its results; never change it in place."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "nets.py").write_text(NETS)
    (folder / "activations.py").write_text("from torch.nn.functional import gelu as activation\n")
    (folder / "other.py").write_text(OTHER)
    (folder / "parity.toml").write_text(MANIFEST)
    return folder, in_folder(folder, "--update", "--jobs", "2")


@pytest.fixture
def project(locked: tuple[Path, Done], tmp_path: Path) -> Path:
    shutil.copytree(locked[0], tmp_path / "project")
    return tmp_path / "project"


def cells(done: Done) -> dict[str, dict[str, Any]]:
    found = json.loads(done.stdout)
    return {f"{cell['model']}.{cell['target']}": cell for cell in found["cells"]}


def kinds(done: Done) -> dict[str, list[str]]:
    """The findings that fail, by cell."""
    return {
        name: [finding["kind"] for finding in cell["findings"] if finding["fails"]]
        for name, cell in cells(done).items()
        if cell["failed"]
    }


# -- all is well ------------------------------------------------------------------------------------------------


def test_update_writes_a_lock_that_can_be_reviewed(locked: tuple[Path, Done]) -> None:
    folder, done = locked
    assert done.returncode == 0, done.stderr + done.stdout
    assert "parity.lock: 4 new" in done.stderr
    text = (folder / "parity.lock").read_text()
    assert str(folder) not in text
    lock = tomllib.loads(text)
    assert lock.pop("schema") == 1
    assert {model: list(targets) for model, targets in lock.items()} == {
        "narrow": ["drifting", "onnxruntime"],
        "wide": ["homeless", "onnxruntime"],
    }
    cell = lock["narrow"]["onnxruntime"]["float32"]
    assert cell["ran"] is True
    assert cell["fusions"] == {"Gelu": 1}
    assert 0 < cell["outputs"]["output"]["used"] < 1
    assert {"plumbline", "torch", "onnxruntime"} <= cell["versions"].keys()
    assert lock["wide"]["homeless"]["float32"]["ran"] is False
    assert not list((folder / "build" / "check").iterdir()), "bundles of passing cells are not kept"


def test_nothing_is_compiled_again_that_has_not_changed(project: Path) -> None:
    done = in_folder(project, "--json")
    assert done.returncode == 0, done.stderr
    assert all(cell["measured"]["cached"] for cell in cells(done).values())
    shown = in_folder(project)
    assert shown.returncode == 0
    assert "4 of 4 hold; 4 not compiled again" in " ".join(shown.stdout.split())
    assert shown.stdout.count("cached") == 4
    assert "built, not run; the manifest allows it" in shown.stdout


# -- it fails ---------------------------------------------------------------------------------------------------


def test_numbers_that_got_worse_inside_their_budget_fail(project: Path) -> None:
    """What a new version of a runtime may do: still within the budget, and far from where it was."""
    done = in_folder(project, "--only", "narrow", "--no-cache", DRIFT="2.5")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "narrow on drifting: 'output' got worse" in " ".join(done.stdout.split())
    assert "✓ narrow on onnxruntime: passed" in done.stderr
    assert "narrow on onnxruntime:" not in done.stdout


def test_numbers_out_of_their_budget_and_another_precision_fail_and_are_never_locked(project: Path) -> None:
    before = (project / "parity.lock").read_bytes()
    lost = {"DRIFT": "4000", "PRECISION": "bfloat16"}
    done = in_folder(project, "--only", "narrow", "--target", "drifting", "--no-cache", "--update", "--json", **lost)
    assert done.returncode == 3
    assert kinds(done) == {"narrow.drifting": ["numbers-differ", "precision-changed"]}
    assert (project / "parity.lock").read_bytes() == before
    rejected = Path(project / cells(done)["narrow.drifting"]["measured"]["bundle"])
    assert rejected.name == "narrow.drifting.rejected"
    assert rejected.is_dir()


def test_a_fusion_that_vanished_fails_and_only_what_changed_is_compiled(project: Path) -> None:
    """The factory is as it was; what it imports is not."""
    (project / "activations.py").write_text("from torch import relu as activation\n")
    done = in_folder(project, "--json")
    assert done.returncode == 3
    assert kinds(done) == {"narrow.onnxruntime": ["fusion-vanished"], "narrow.drifting": ["fusion-vanished"]}
    assert {name: cell["measured"]["cached"] for name, cell in cells(done).items()} == {
        "narrow.onnxruntime": False, "narrow.drifting": False, "wide.onnxruntime": True, "wide.homeless": True,
    }  # fmt: skip


def test_what_is_skipped_built_only_missing_or_dies_fails_and_stops_nothing_else(project: Path) -> None:
    manifest = (project / "parity.toml").read_text().replace('may_only_be_built = ["homeless"]\n', "")
    manifest = manifest.replace('["onnxruntime", "drifting"]', '["onnxruntime", "absent"]')
    new = '[new]\nmodel = "other.py:wide"\ninputs = ["input:float32[2,16]"]\ntargets = ["onnxruntime"]\n'
    dying = '[dying]\nmodel = "dying.py:build"\ninputs = ["x:float32[2]"]\ntargets = ["onnxruntime"]\n'
    (project / "parity.toml").write_text(dying + manifest + new)
    (project / "dying.py").write_text(
        "import os\n\n\ndef build():\n    print('farewell', flush=True)\n    os._exit(7)\n"
    )
    done = in_folder(project, "--json")
    assert done.returncode == 3, done.stderr
    assert kinds(done) == {
        "dying.onnxruntime": ["check-crashed"],
        "narrow.absent": ["skipped"],
        "wide.homeless": ["built-not-run"],
        "new.onnxruntime": ["not-in-lock"],
        "narrow.drifting": ["gone"],
    }
    found = cells(done)
    assert "exit code 7 / farewell" in found["dying.onnxruntime"]["findings"][0]["message"]
    assert "its hardware is on the moon" in found["narrow.absent"]["findings"][0]["message"]
    assert 'may_only_be_built = ["homeless"]' in found["wide.homeless"]["findings"][0]["message"]
    assert not found["narrow.onnxruntime"]["failed"]


# -- what machines read -----------------------------------------------------------------------------------------


def test_reports_for_machines(project: Path) -> None:
    (project / "activations.py").write_text("from torch import relu as activation\n")
    done = in_folder(
        project, "--target", "onnxruntime", "--junit", "out/parity.xml", "--markdown", "out/parity.md", "--quiet",
        "--html", "out/parity.html",
        GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(project), GITHUB_STEP_SUMMARY=str(project / "summary.md"),
    )  # fmt: skip
    assert done.returncode == 3
    annotation = "::error file=parity.toml,line=4,title=narrow on onnxruntime%3A fusion-vanished::1 of 1 Gelu are gone"
    assert annotation in done.stdout
    suites = ElementTree.parse(project / "out" / "parity.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")
    failure = suites.find("testsuite[@name='narrow']/testcase[@name='onnxruntime']/failure")
    assert failure is not None
    assert failure.get("type") == "fusion-vanished"
    assert "✗ 1 OF 2 DO NOT HOLD" in (project / "out" / "parity.html").read_text()
    text = (project / "out" / "parity.md").read_text()
    assert "| ✗ | narrow | onnxruntime | fusion-vanished |" in text
    assert "| ✓ | wide | onnxruntime | passed |" in text
    assert (project / "summary.md").read_text().strip() == text.strip()


# -- what is wrong with the request -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["models.toml"], {}, "no-manifest", "there is no manifest 'models.toml'"),
        ([], {"parity.lock": None}, "no-lock", "compile check --update writes it"),
        ([], {"parity.toml": "[mynet\n"}, "bad-manifest", "it is no TOML"),
        ([], {"parity.lock": "schema = 99\n"}, "bad-lock", "its schema is 99, this version reads up to 1"),
        (["--only", "narow"], {}, "unknown-model", "did you mean 'narrow'?"),
        (["--target", "tvm"], {}, "nothing-to-check", "none of them is compiled for that target"),
        ([], {"parity.toml": '[a]\nmodel = "a.py:b"\ntargets = ["onxruntime"]\n'}, "unknown-target", "onnxruntime"),
        (["--effort", "much"], {}, "bad-option", "there is no effort 'much'"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_before_anything_is_compiled(
    project: Path, arguments: list[str], changes: dict[str, str | None], code: str, said: str
) -> None:
    for name, text in changes.items():
        if text is None:
            (project / name).unlink()
        else:
            (project / name).write_text(text)
    done = in_folder(project, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error[{code}]: ")
    assert said in done.stderr
