"""Ctrl-C at every stage: a word, exit code 130, no leftovers, no orphans, and the previous bundle as it was."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import COMPILE, MLP, MLP_INPUT

import compiler
from compiler import bundle as bundles

pytestmark = pytest.mark.usefixtures("third_party")

HANGING_FACTORY = MLP.replace("def build():", "def build():\n    import time\n    time.sleep(60)")
HANGING_FORWARD = MLP.replace(
    "        return self.down", "        import time\n        time.sleep(60)\n        return self.down"
)
HANGING_REFERENCE = MLP.replace(
    "        return self.down",
    "        torch.compiler.is_compiling() or __import__('time').sleep(60)\n        return self.down",
)

# The stage to wait for, what the factory does, the target and where it hangs, and how long to wait within the stage.
STAGES: dict[str, tuple[str, str, str, float]] = {
    "load": (HANGING_FACTORY, "sound", "", 1.5),
    "trace": (HANGING_FORWARD, "sound", "", 1.5),
    "capture": (MLP, "sound", "", 0.0),
    "build": (MLP, "hanging", "build", 0.3),
    "reference": (HANGING_REFERENCE, "sound", "", 0.3),
    "verify": (MLP, "hanging", "run", 0.3),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_loses_nothing(mlp_bundle: Path, tmp_path: Path, stage: str) -> None:
    source, target, at, pause = STAGES[stage]
    (tmp_path / "mlp.py").write_text(source)
    previous = tmp_path / "build" / f"mlp.{target}"
    shutil.copytree(mlp_bundle, previous)
    options = ["--option", f"at={at}"] if at else []
    child = subprocess.Popen(
        [COMPILE, "mlp.py:build", "-t", target, "-i", MLP_INPUT, *options],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # the signal goes to a whole group, as from a terminal
    )
    try:
        seen = wait_for(child, f"{stage}: ")
        time.sleep(pause)
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
    said = seen + err.decode()
    assert child.returncode == 130, said
    assert out == b""
    assert said.splitlines()[-1] == "interrupted; nothing was changed"
    assert "Traceback" not in said
    assert [path.name for path in previous.parent.iterdir()] == [previous.name]
    bundles.check(bundles.read(previous))
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def wait_for(child: subprocess.Popen[bytes], line: str) -> str:
    """What the command says on stderr until a line begins like this."""
    assert child.stderr is not None
    seen, deadline = b"", time.monotonic() + 60
    while line not in seen.decode():
        ready, _, _ = select.select([child.stderr], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"'{line}' never came: {seen.decode()}"
        chunk = os.read(child.stderr.fileno(), 4096)
        assert chunk, f"it ended before '{line}': {seen.decode()}"
        seen += chunk
    return seen.decode()


def test_an_interrupt_of_verify_loses_nothing(mlp_file: Path, tmp_path: Path) -> None:
    folder = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="hanging", output=tmp_path).folder
    child = subprocess.Popen(
        [COMPILE, "verify", str(folder), "--option", "at=run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(child, "verify: ")
        time.sleep(0.3)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
    assert (child.returncode, out, err.strip()) == (130, b"", b"interrupted; nothing was changed")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    bundles.check(bundles.read(folder))
