"""`--precision auto` from the model to the bundle: what is chosen, what is refused, and that float32 is never lost."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import backends
from compiler import api, auto_precision
from compiler.bench.rows import Error, Row, Table
from compiler.bench.run import Plan
from compiler.bench.setting import Setting
from compiler.bench.subject import Subject
from compiler.contracts import Progress, SilentProgress
from compiler.errors import Exit, PlumblineError, UsageError
from compiler.measure.latency import Latency
from compiler.measure.paired import Ratio
from compiler.report import mixes
from compiler.search.lower import no_gain
from compiler.search.objective import Objective

NET = """\
import numpy as np
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(32, 64), torch.nn.Linear(64, 8)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


def build():
    torch.manual_seed(0)
    return Net(), ["x:float32[batch=1..8,32]"]


def samples():
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield {"x": rng.standard_normal((8, 32)).astype(np.float32)}


def nonsense(got, want):
    return "very good"
"""


def row(name: str, milliseconds: float, **facts: Any) -> Row:
    seconds = milliseconds / 1000
    latency = Latency(100, seconds, seconds, seconds, seconds, None, seconds, seconds, seconds)
    part = milliseconds / 10
    bursts = [seconds * factor for factor in (0.99, 1.0, 1.01)]
    ratio = Ratio(part, 0.99 * part, 1.01 * part) if name != "float32" else None
    return Row(name, name, Error("passed", 0.2), latency=latency, ratio=ratio, bursts=bursts, **facts)


# -- what gains nothing -----------------------------------------------------------------------------------------

FULL = row("float32", 10, disk=4 * 2**20, peak=8 * 2**20, rates={1: 100.0})


@pytest.mark.parametrize(
    ("goal", "low", "why"),
    [
        ("latency", row("int8", 5), ""),
        ("latency", row("int8", 10.05), "it is no faster than float32: 1.00"),
        ("size", row("int8", 20, disk=2**20), ""),
        ("size", row("int8", 5, disk=4 * 2**20), "it is no smaller than float32: 4.0 MiB, and 4.0"),
        ("memory", row("int8", 5, peak=9 * 2**20), "it takes no less memory than float32: 9.0 MiB, and 8.0"),
        ("throughput", row("int8", 5, rates={1: 90.0}), "it is no faster than float32: 90 calls a second, and 100"),
    ],
)
def test_what_is_no_better_than_float32_is_refused_with_the_numbers(goal: Any, low: Row, why: str) -> None:
    found = no_gain([FULL, low, Row("dead", "", Error("passed"), failure="it crashed")], ["float32"], Objective(goal))
    assert found.get("int8", "").startswith(why) and ("int8" in found) == bool(why)


# -- from the model to the bundle -------------------------------------------------------------------------------


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def timed(monkeypatch: pytest.MonkeyPatch, **milliseconds: float) -> None:
    """What would take seconds to measure, and would not be the same twice."""

    def bench(subject: Subject, settings: Sequence[Setting], plan: Plan, progress: Progress) -> Iterator[Table]:
        size = {name: sum(path.stat().st_size for path in one.bundle.folder.iterdir() if path.is_file())
                for name, one in subject.candidates.items()}  # fmt: skip
        rows = [
            row(name, milliseconds.get(name.split()[0], 10), disk=size[name], load=0.1, first=0.1, steady_after=1)
            for name in subject.candidates
        ]
        yield Table(settings[0], "float32", rows, 5)

    monkeypatch.setattr(auto_precision, "bench", bench)


def run(net: Path, *contract: str, budget: float = 600, **changed: Any) -> auto_precision.Chosen:
    job = api._job(
        f"{net / 'net.py'}:build",
        None,
        "onnxruntime",
        output=net / "build",
        contract=contract,
        precision="int8",
        calibration=f"{net / 'net.py'}:samples",
    )
    return auto_precision.auto_precision(
        replace(job, **changed),
        {"onnxruntime": {}},
        Objective(),
        budget=budget,
        timeout=120,
        memory_limit=None,
        progress=SilentProgress(),
    )


def shown(chosen: auto_precision.Chosen, monkeypatch: pytest.MonkeyPatch) -> str:
    out = io.StringIO()
    monkeypatch.setattr(mixes, "page", lambda: Console(file=out, width=100, highlight=False))
    mixes.show(chosen.result.folder, chosen.evidence, quiet=False)
    return out.getvalue()


def test_the_fastest_that_keeps_the_contract_is_kept_with_the_evidence(
    net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, float32=10, int8=4)
    chosen = run(net, "cosine>=0.99")
    assert chosen.evidence["chosen"] in ("int8 static", "int8 rows")
    assert {one["name"] for one in chosen.evidence["mixes"]} == {"int8 static", "int8 rows"}
    folder = chosen.result.folder
    assert folder == net / "build" / "net.onnxruntime"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["net.onnxruntime"]
    assert (folder / "choice.json").is_file()
    page = (folder / "report.html").read_text()
    assert "Which precisions were tried" in page and "Speed against error" in page
    with backends.load(folder) as session:
        (answer,) = session({"x": np.zeros((2, 32), np.float32)}).values()
    assert answer.shape == (2, 8)
    text = shown(chosen, monkeypatch)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "Chosen: int8" in text and text.rstrip().endswith(f"{folder.name}.")


def test_what_is_slower_is_refused_and_float32_is_the_answer(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, float32=10, int8=12)
    chosen = run(net, "cosine>=0.99")
    assert chosen.evidence["chosen"] == "float32"
    assert chosen.evidence["refused"]["int8 static"].startswith("it is no faster than float32: 1.20")
    assert chosen.evidence["warnings"] == ["NOTHING LOWER THAN FLOAT32 GAINS ANYTHING: float32 is kept"]
    assert chosen.result.manifest["precision"] is None


def test_a_contract_that_cannot_be_kept_names_the_closest_and_leaves_float32(net: Path) -> None:
    with pytest.raises(PlumblineError) as caught:
        run(net, "cosine>=0.99999999", budget=20)
    error = caught.value
    assert (error.code, error.exit_code) == ("contract-not-kept", Exit.DIFFERS)
    assert "is the closest: cosine>=0.99999999: 0.99" in str(error.why)
    assert "the float32 bundle is in" in str(error.hint)
    with backends.load(net / "build" / "net.onnxruntime") as session:
        assert session.effective


def test_a_metric_that_returns_nonsense_is_told(net: Path) -> None:
    with pytest.raises(PlumblineError) as caught:
        run(net, f"{net / 'net.py'}:nonsense")
    assert "nonsense" in caught.value.message


def test_what_is_not_verified_cannot_be_chosen(net: Path) -> None:
    with pytest.raises(UsageError):
        run(net, verify=False)
