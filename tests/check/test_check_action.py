"""action.yml says what it takes, and calls the command as it can be called."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from compiler.cli.check import check

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}


def called_with(tmp_path: Path, **given: str) -> list[str]:
    """What the last step calls `compile` with, for inputs as a workflow would give them."""
    stub = tmp_path / "compile"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    values = {name: given.get(name, entry["default"]) for name, entry in ACTION["inputs"].items()}
    step = STEPS["Check"]
    environment = {name: values[_input(text)] for name, text in step["env"].items()}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def _input(text: str) -> str:
    match = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, ["check", "parity.toml", "--jobs", "1"]),
        (
            {"manifest": "my models.toml", "target": "openvino", "only": "a,b", "effort": "quick", "jobs": "2"},
            ["check", "my models.toml", "--jobs", "2", "--target", "openvino", "--only", "a,b", "--effort", "quick"],
        ),
        (
            {"junit": "out/$(id).xml", "cache": "false"},
            ["check", "parity.toml", "--jobs", "1", "--junit", "out/$(id).xml", "--no-cache"],
        ),
    ],
)
def test_the_command_is_called_with_what_was_asked_for(
    given: dict[str, str], arguments: list[str], tmp_path: Path
) -> None:
    found = called_with(tmp_path, **given)
    assert found == arguments
    check.make_context("check", found[1:])  # every option is one of the command


def test_every_input_is_used_and_explained() -> None:
    text = (ROOT / "action.yml").read_text()
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    assert used == set(ACTION["inputs"])
    assert all(entry["description"] for entry in ACTION["inputs"].values())
    assert isinstance(check, click.Command)


def test_nothing_that_a_workflow_gives_is_pasted_into_a_script() -> None:
    assert not [name for name, step in STEPS.items() if "${{" in step.get("run", "")]


def test_torch_is_pinned_where_the_action_looks_for_it() -> None:
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.M)
