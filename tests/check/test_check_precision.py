"""Models in lower precision: what the manifest says of them, what the lock keeps, and what drifts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.check import judge, lock, manifest, worker
from compiler.check.cells import Cell, Figures, Measured, Numbers, figures_from_json, to_json
from compiler.check.manifest import Entry
from compiler.errors import UsageError

CLAUSE = "y:cosine>=0.999"
BEFORE = Figures(
    "int8",
    True,
    1000,
    {},
    {},
    {"y": Numbers(900.0, 4000.0, 0.01)},
    promises={CLAUSE: 0.9996, "y:own.py:same": 1.0},
    fidelity={"y": Numbers(0.1, 0.8, 1e-6)},
)
ENTRY = Entry("net", "net.py:build", ("onnxruntime",), precision="int8")
NET = """\
import numpy as np
import torch


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8))


def samples():
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield {"input": rng.standard_normal((8, 32)).astype(np.float32)}
"""
MANIFEST = """\
[net]
model = "net.py:build"
inputs = ["input:float32[batch=1..8,32]"]
targets = ["onnxruntime"]
effort = "quick"
precision = "int8"
method = "rows"
calibration = "net.py:samples"
contract = ["cosine>=0.999"]
"""


def test_both_verdicts_are_measured_and_locked(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "parity.toml").write_text(MANIFEST)
    (entry,) = manifest.read(tmp_path / "parity.toml").entries
    assert entry.calibration == f"{tmp_path / 'net.py'}:samples"
    task = worker.Task(entry, entry.targets, tmp_path / "out", keep=False, timeout=120, memory_limit=None)
    ((target, measured),) = worker._compiled(task)
    assert measured.status == "passed", measured
    figures = measured.figures
    assert figures is not None and figures.precision == "int8"
    (worst,) = figures.promises.values()
    assert 0.999 <= worst < 0.99999
    assert figures.outputs.keys() == figures.fidelity.keys()
    (graph,), (model,) = figures.fidelity.values(), figures.outputs.values()
    assert graph.used < 1 < model.used, "the graph is computed as it is, and the model is not"
    lock.write(tmp_path / "parity.lock", {Cell(entry.name, target): figures})
    locked = lock.read(tmp_path / "parity.lock")
    assert judge.judge(entry, target, measured, locked).findings == ()


def judged(now: Figures, before: Figures = BEFORE) -> judge.Judged:
    return judge.judge(ENTRY, "onnxruntime", Measured("passed", now), {Cell("net", "onnxruntime"): before})


def kinds(one: judge.Judged) -> list[str]:
    return [finding.kind for finding in one.findings]


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        (replace(BEFORE, promises={**BEFORE.promises, CLAUSE: 0.99955}), None),
        (replace(BEFORE, promises={**BEFORE.promises, CLAUSE: 0.9991}), "worse"),
        (replace(BEFORE, promises={**BEFORE.promises, CLAUSE: 0.99995}), "better"),
        (replace(BEFORE, promises={"y:cosine>=0.99": 0.9996, "y:own.py:same": 1.0}), "contract-changed"),
        (replace(BEFORE, fidelity={"y": Numbers(0.8, 0.9, 1e-5)}), "worse"),
        (replace(BEFORE, precision="float32"), "precision-changed"),
    ],
)
def test_what_drifts_inside_of_the_contract_is_told(now: Figures, kind: str | None) -> None:
    found = judged(now)
    assert set(kinds(found)) == ({kind} if kind else set())
    assert found.failed == (kind not in (None, "better"))
    assert judge.acceptable(found)


@pytest.mark.parametrize(
    ("clause", "worst", "share"),
    [
        ("y:cosine>=0.999", 0.9995, 0.5),
        ("y:kl<=0.01", 0.005, 0.5),
        ("y:psnr>=40", 80, 0.5),
        ("y:own.py:same", 1.0, 0.0),
    ],
)
def test_how_far_off_in_parts_of_what_is_allowed(clause: str, worst: float, share: float) -> None:
    assert judge.share(clause, worst) == pytest.approx(share)


def test_the_lock_and_the_cache_keep_all_of_it(tmp_path: Path) -> None:
    cells = {Cell("net", "onnxruntime"): BEFORE}
    lock.write(tmp_path / "parity.lock", cells)
    assert lock.read(tmp_path / "parity.lock") == cells
    kept = to_json(Measured("passed", BEFORE))["figures"]
    assert figures_from_json(kept) == BEFORE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('precision = "int9"', "there is no precision 'int9'"),
        ('precision = "auto"', "there is no precision 'auto'"),
        ('calibration = "data.npz"', "'calibration' means nothing in float32"),
        ("precision = 8", "'precision' must be a text"),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "parity.toml").write_text(f'[net]\nmodel = "net.py:build"\ntargets = ["onnxruntime"]\n{line}\n')
    with pytest.raises(UsageError, match=said):
        manifest.read(tmp_path / "parity.toml")
