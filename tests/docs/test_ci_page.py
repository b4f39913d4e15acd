"""docs/ci.md names every key of a manifest and every finding, and its examples are what they say."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import fields
from pathlib import Path

import yaml
from pages import DOCS, ROOT, blocks, quoted, rows, section

from compiler.check import judge, lock, manifest
from compiler.check.cells import Figures, Numbers

PAGE = DOCS / "ci.md"


def kinds() -> set[str]:
    """What the judge calls its findings."""
    tree = ast.parse(Path(judge.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    first = [node.args[0] for node in calls if node.func.id == "Finding"]  # type: ignore[attr-defined]
    return {str(argument.value) for argument in first if isinstance(argument, ast.Constant)}


def test_every_key_of_a_manifest_is_described() -> None:
    described = {name for cells in rows(section(PAGE, "## The manifest")) for name in quoted(cells[0])}
    assert described == set(manifest._OF_ONE)


def test_every_finding_is_described() -> None:
    text = section(PAGE, "## What fails")
    in_table = {name for cells in rows(text) for name in quoted(cells[0])}
    assert kinds() == in_table | {"better", "larger", "runs-now", "known-failure"}
    assert all(f"`{kind}`" in text for kind in kinds())


def test_every_key_of_the_lock_is_described() -> None:
    described = {name for cells in rows(section(PAGE, "## The lock")) for name in quoted(cells[0])}
    names = {field.name for kind in (Figures, Numbers) for field in fields(kind)}
    assert described == names - {"precision", "outputs"}  # which are names of tables


def test_the_factors_on_the_page_are_those_of_the_judge() -> None:
    text = " ".join(section(PAGE, "## Noise and regressions").split())
    assert f"more than {judge.USED_FACTOR:g} times the lock's and more than {judge.USED_FLOOR:.0%}" in text
    assert f"more than {judge.RMS_FACTOR:g} times the lock's and more than {judge.RMS_FLOOR:g} unit" in text


def test_the_example_of_a_lock_reads_as_one(tmp_path: Path) -> None:
    (example,) = [block for block in blocks(PAGE, "toml") if "[mynet.onnxruntime.float32]" in block]
    (tmp_path / "parity.lock").write_text(f"schema = {lock.SCHEMA}\n{example}")
    (figures,) = lock.read(tmp_path / "parity.lock").values()
    assert lock._table(next(iter(lock.read(tmp_path / "parity.lock"))), figures).strip() == example.strip()


def test_the_other_examples_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "parity.toml").write_text(blocks(PAGE, "toml")[0])
    (entry,) = manifest.read(tmp_path / "parity.toml").entries
    assert entry.name == "mynet"
    for block in blocks(PAGE, "toml"):
        tomllib.loads(block)
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    for block in blocks(PAGE, "yaml"):
        for step in yaml.safe_load(block).get("jobs", {}).get("parity", {}).get("steps", []):
            if "plumbline" in step.get("uses", ""):
                assert set(step["with"]) <= set(action["inputs"])
