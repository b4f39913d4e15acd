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

HANG = "open('reached', 'w').close() or __import__('time').sleep(60)"
FORWARD = "        return self.down"
HANGING_FACTORY = MLP.replace("def build():", f"def build():\n    {HANG}")
HANGING_FORWARD = MLP.replace(FORWARD, f"        {HANG}\n{FORWARD}")
HANGING_REFERENCE = MLP.replace(FORWARD, f"        torch.compiler.is_compiling() or {HANG}\n{FORWARD}")

# The stage to wait for, what the model does, the target, and where the target hangs.
STAGES: dict[str, tuple[str, str, str]] = {
    "load": (HANGING_FACTORY, "sound", ""),
    "trace": (HANGING_FORWARD, "sound", ""),
    "capture": (MLP, "sound", ""),
    "build": (MLP, "hanging", "build"),
    "reference": (HANGING_REFERENCE, "sound", ""),
    "verify": (MLP, "hanging", "run"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_loses_nothing(mlp_bundle: Path, tmp_path: Path, stage: str) -> None:
    source, target, at = STAGES[stage]
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
        preexec_fn=hear_interrupts,
    )
    try:
        seen = wait_for(child, f"{stage}: ")
        if source is not MLP:
            wait_until(tmp_path / "reached")
        elif at:
            time.sleep(0.3)
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


def hear_interrupts() -> None:
    """Whoever runs the tests in the background has interrupts ignored, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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


def wait_until(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, "the model never came to where it hangs"
        time.sleep(0.05)


def test_an_interrupt_of_verify_loses_nothing(mlp_file: Path, tmp_path: Path) -> None:
    folder = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="hanging", output=tmp_path).folder
    child = subprocess.Popen(
        [COMPILE, "verify", str(folder), "--option", "at=run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hear_interrupts,
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
