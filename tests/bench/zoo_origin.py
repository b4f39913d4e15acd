"""What the figures of a cell come from. For bench_zoo.py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends import host
from compiler import record

ROOT = Path(__file__).resolve().parents[2]
# These rooms tell, or judge after the fact: no artifact and no time comes from them.
_BESIDE = {"report", "cli", "check", "diagnose"}
_HERE = ("zoo_cell.py",)
_LETTERS = 12


def origin(model: str) -> dict[str, Any]:
    """The code, the model, the packages and the machine."""
    facts = host.facts()
    return {
        "code": code(),
        "model": _digest([ROOT / "models" / f"{model}.py"]),
        "versions": record.versions(),
        "machine": {name: facts[name] for name in ("cpu", "cores")},
    }


def code() -> str:
    return _digest(sorted(_files()))


def _files() -> Iterator[Path]:
    for file in (ROOT / "backends").rglob("*.py"):
        yield file
    for file in (ROOT / "compiler").rglob("*.py"):
        if file.relative_to(ROOT / "compiler").parts[0] not in _BESIDE:
            yield file
    yield from (Path(__file__).with_name(name) for name in _HERE)


def _digest(files: list[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(ROOT)}\n".encode())
        found.update(file.read_bytes())
    return found.hexdigest()[:_LETTERS]
