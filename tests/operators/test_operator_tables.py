"""The committed tables of what each target takes are true: derived again, and measured again in part."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import emitted
import operator_pages as pages
import pytest

HERE = Path(__file__).parent
# Each Nth of ONNX's tests, so that a target takes well under a minute.
NODE = {"onnxruntime": 8, "openvino": 15, "tvm": 50, "tensorrt": 50}
# Of torch's samples, the operators that most models are made of.
TORCH = "add,nn.functional.conv2d,nn.functional.layer_norm,cumsum,topk,where,nn.functional.scaled_dot_product_attention"


def has_table(suite: str) -> list[str]:
    return [target for target in pages.TARGETS if pages.measured(suite, target)]


def script(name: str, *arguments: str | Path, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / name), *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("target", has_table("node"))
def test_a_part_of_onnx_own_tests_comes_out_as_the_table_says(target: str, tmp_path: Path) -> None:
    script("measure.py", "node", target, "--check", "--every", str(NODE[target]), "--log", tmp_path)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("samples")
    script("capture_samples.py", "--only", TORCH, OPERATOR_SAMPLES=str(home))
    return home


@pytest.mark.parametrize("target", has_table("torch"))
def test_a_part_of_torchs_samples_comes_out_as_the_table_says(target: str, captured: Path, tmp_path: Path) -> None:
    script("measure.py", "torch", target, "--check", "--log", tmp_path, OPERATOR_SAMPLES=str(captured))


def test_what_torch_emits_is_what_the_table_says() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert emitted.emitted().keys() == emitted.stored().keys(), "run tests/operators/emitted.py"


@pytest.mark.parametrize("page", pages.PAGES)
def test_the_pages_are_in_step_with_the_legality_and_the_results(page: str) -> None:
    assert (pages.DOCS / page).read_text() == pages.PAGES[page](), "run tests/operators/operator_pages.py"
