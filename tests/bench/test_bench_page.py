"""What the cells of the zoo's bench say together."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import bench_page
import bench_zoo
import pytest
import zoo_origin
from bench_calls import above
from zoo_cell import Cell, choices

from models.table import models

CODE = "75ab12"


def cell(model: str = "bert", **milliseconds: float) -> dict[str, Any]:
    """Rounds of a machine that changes its speed; each contender keeps its share."""
    machine = [1.0, 1.3, 0.9, 1.1, 1.0, 1.2]
    names = {"ort": "plain onnxruntime", "ov": "plain openvino"}
    rows = [
        {
            "name": names.get(name, name),
            "what": f"{name} 1.0",
            "bursts": [1e-3 * value * speed for speed in machine],
            "failure": "",
        }
        for name, value in milliseconds.items()
    ]
    return {
        "cell": {"model": model, "sizes": {"batch": 8}, "threads": 2},
        "date": "2026-11-21",
        "origin": {"code": CODE},
        "host": {"cpu": "Some CPU", "cores": 2, "python": "3.11"},
        "versions": {"torch": "2.13", "onnxruntime": "1.31"},
        "peaks": {"products": {"float32": {"rate": 100e9, "by": "x"}}},
        "floor": 0.004,
        "chosen": "openvino",
        "failed": {"tvm": "unsupported-op"},
        "table": {"rows": rows},
    }


GOOD = {"eager": 20.0, "inductor": 15.0, "ort": 12.0, "ov": 10.0, "onnxruntime": 11.0, "openvino": 9.0, "auto": 9.0}


def test_ratios_are_to_the_best_of_the_others() -> None:
    one = cell(**GOOD)
    assert bench_page.best(one) == "plain openvino"
    (line,) = list(bench_page.table([one], CODE))[2:]
    words = [word.strip() for word in line.strip("|").split("|")]
    assert words[0] == "bert batch=8"
    assert words[1].endswith("(plain OpenVINO)")
    assert words[2:] == [
        "2.00 [2.00, 2.00]", "1.50 [1.50, 1.50]", "1.20 [1.20, 1.20]", "1",
        "1.10 [1.10, 1.10]", "0.90 [0.90, 0.90]", "", "0.90 [0.90, 0.90]", "openvino", "0.38",
    ]  # fmt: skip


def test_bounds() -> None:
    assert list(bench_page.broken([cell(**GOOD)])) == []
    (complaint,) = bench_page.broken([cell("unet", **{**GOOD, "auto": 10.5})])
    assert "auto takes 1.050" in complaint
    found = list(bench_page.broken([cell(**{**GOOD, "auto": 9.8})]))
    assert ["geometric mean" in line for line in found] == [True]
    (complaint,) = bench_page.broken([cell("unet", **{**GOOD, "openvino": 11.0})])
    assert "of plain openvino" in complaint


def test_the_page_and_its_picture(tmp_path: Path) -> None:
    bench_page.write([cell(**GOOD), cell("unet", **GOOD)], tmp_path, CODE)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "Some CPU, 2 cores, 2 threads" in page
    assert "bert batch=8: tvm (unsupported-op)" in page
    assert "**auto takes 0.900" in page
    picture = (tmp_path / "benchmarks.svg").read_text()
    ElementTree.fromstring(picture)
    assert "unet batch=8" in picture
    assert picture == bench_page.picture([cell(**GOOD), cell("unet", **GOOD)]), "the same figures are the same picture"


def test_a_page_says_which_rows_are_not_there() -> None:
    assert "2 of 3 rows are measured. Not yet: vit batch=8." in bench_page.page(
        [cell(**GOOD), cell("unet", **GOOD)], CODE, ["vit batch=8"]
    )
    assert "Not yet" not in bench_page.page([cell(**GOOD)], CODE)


def test_rows_of_other_code_are_marked() -> None:
    assert "†" not in bench_page.page([cell(**GOOD)], CODE)
    page = bench_page.page([cell(**GOOD), {**cell("unet", **GOOD), "origin": {"code": "0"}}], CODE)
    assert "| bert batch=8 |" in page
    assert "| unet batch=8 † |" in page
    assert "† measured with an earlier state" in page


def test_what_matters_most_is_measured_first() -> None:
    arguments = argparse.Namespace(size="full", threads=2, budget=60, targets="tvm")
    cells = bench_zoo.cells(arguments)
    assert [one.model for one in cells[: len(bench_page.GEOMEAN)]] == list(bench_page.GEOMEAN)
    assert {one.sizes.get("batch") for one in cells[: len(bench_page.GEOMEAN)]} == {1}
    assert len({one.key for one in cells}) == len(cells)
    assert {one.model for one in cells} == set(models())


def test_a_page_without_figures_says_so() -> None:
    assert "no figures yet" in bench_page.page([], CODE)


def test_what_is_measured_of_a_model() -> None:
    assert choices("bert", "full") == [
        {"batch": 1, "seq": 128}, {"batch": 8, "seq": 128}, {"batch": 1, "seq": 256}, {"batch": 8, "seq": 256},
    ]  # fmt: skip
    assert choices("resnet50", "full") == [{"batch": 1}, {"batch": 8}]
    assert choices("gnn", "full") == [{"nodes": 256, "edges": 1024}]
    assert choices("unet", "full")[1]["batch"] == 4


def test_specs_of_a_cell() -> None:
    one = Cell("bert", {"batch": 8, "seq": 128})
    assert one.specs == ["input_ids:int64[8,128]", "attention_mask:int64[8,128]"]
    assert one.key == "bert-full-batch8-seq128-2threads"


def test_finished_cells_are_not_measured_again_as_long_as_they_are_those_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        words = json.loads(command[-2])
        begun.append(words["sizes"])
        if words["sizes"]["batch"] == 8:
            return subprocess.CompletedProcess(command, 1, b"", b"Traceback\nKilled")
        told = {**cell("resnet50", **GOOD), "origin": zoo_origin.origin("resnet50")}
        told["cell"] = {**told["cell"], "sizes": words["sizes"], "targets": words["targets"]}
        Path(command[-1]).write_text(json.dumps(told))
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr("bench_zoo.subprocess.run", run)
    words = ["resnet50", "--folder", str(tmp_path), "--docs", str(tmp_path)]
    assert bench_zoo.main(words) == 1
    assert bench_zoo.main(words) == 1
    assert begun == [{"batch": 1}, {"batch": 8}, {"batch": 8}]
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| resnet50 batch=1 |" in page
    assert "resnet50 batch=8" in page.partition("Not yet: ")[2]
    assert bench_zoo.main([*words, "--seconds", "0"]) == 0
    assert len(begun) == 3
    monkeypatch.setattr(zoo_origin.record, "versions", lambda: {"onnxruntime": "of tomorrow"})
    assert bench_zoo.main([*words, "--seconds", "0"]) == 0
    assert "no figures yet" in (tmp_path / "benchmarks.md").read_text()


def test_what_a_session_costs_above_the_bare_call() -> None:
    rounds = [(1.0 * speed, 1.0 * speed + 0.5) for speed in (1, 2, 1.5, 1, 3)]
    middle, low, high = above(rounds)
    assert middle == pytest.approx(0.5)
    assert low <= middle <= high
