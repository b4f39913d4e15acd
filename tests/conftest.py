"""What many tests share: one compiled bundle, the command line as a process, and third-party targets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Several workers share the cores. With a thread for every core in each of them, torch's threads mostly wait for each
# other: training the small convnet took 120 s instead of 1. It is read when torch is imported, in child processes, too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
COMPILE = str(Path(sys.executable).with_name("compile"))
THIRD_PARTY = ROOT / "tests" / "backends" / "third_party"

MLP = """\
import torch


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(16, 32), torch.nn.Linear(32, 4)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


def build():
    torch.manual_seed(0)
    return Mlp()
"""
MLP_INPUT = "x:float32[batch=1..8,16]"

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def mlp_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory file; never change it in place."""
    path = tmp_path_factory.mktemp("mlp") / "mlp.py"
    path.write_text(MLP)
    return path


@pytest.fixture(scope="session")
def mlp_bundle(mlp_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verified bundle; never change it in place."""
    import compiler

    out = tmp_path_factory.mktemp("bundles")
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="onnxruntime", output=out)
    assert result.passed
    return result.folder


@pytest.fixture
def bundle(mlp_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to do with as one likes."""
    place = tmp_path / "build" / mlp_bundle.name
    shutil.copytree(mlp_bundle, place)
    return place


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command as a user starts it, in an empty folder, without a terminal."""

    def run(*arguments: str | Path, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMPILE, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The targets of tests/backends/third_party are installed, for child processes as well."""
    from backends import registry

    monkeypatch.syspath_prepend(THIRD_PARTY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(THIRD_PARTY), os.environ.get("PYTHONPATH")])))
    registry._table.cache_clear()
    yield
    registry._table.cache_clear()
