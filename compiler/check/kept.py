"""Results of earlier checks, found by everything that they depend on; what has not changed is not compiled again.

The key holds what can be told beforehand: the model's files, its table in the manifest, the target and its runtime,
plumbline's own source, every installed package, the CPU. A kept result also names the files that were read while it
was made, with their hashes, and counts only while they are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from compiler import cache
from compiler.bundle import sha256, write_json
from compiler.check import cells
from compiler.check.cells import Measured
from compiler.check.manifest import Entry
from compiler.check.touched import unchanged
from compiler.contracts import Ready

KIND = "check"
_SCHEMA = "1"
_RESULT = "result.json"
_OURS = Path(__file__).resolve().parents[2]
_JUDGING = ("targets", "may_only_be_built", "known_failures", "expect", "line")  # what is compiled is the same
_PATHS = ("model", "factory", "translate", "data", "calibration")
_LASTING = ("passed", "not run")  # whoever looks for a failure wants to see it again, with what it leaves behind


class Kept:
    def __init__(self, folder: Path, host: Mapping[str, Any]) -> None:
        self._folder = folder  # paths are told from here: a cache may be carried to another machine
        self._host = host

    def find(self, entry: Entry, target: str, state: Ready) -> Measured | None:
        place = cache.folder(KIND, *self._key(entry, target, state))
        if place is None or not (place / _RESULT).is_file():
            return None
        found = json.loads((place / _RESULT).read_text(encoding="utf-8"))
        if not unchanged((self._folder / name, digest) for name, digest in found["files"].items()):
            return None
        return replace(cells.from_json(found["measured"]), cached=True)

    def keep(self, entry: Entry, target: str, state: Ready, measured: Measured, files: Mapping[str, str]) -> None:
        place = cache.folder(KIND, *self._key(entry, target, state))
        if place is None or measured.status not in _LASTING:
            return
        beside = place / f".{os.getpid()}.{_RESULT}"
        relative = {self._relative(name): digest for name, digest in files.items()}
        write_json(beside, {"measured": cells.to_json(replace(measured, bundle="")), "files": relative})
        beside.replace(place / _RESULT)

    def _key(self, entry: Entry, target: str, state: Ready) -> tuple[str, ...]:
        said = {key: value for key, value in asdict(entry).items() if key not in _JUDGING}
        said |= {"options": entry.options.get(target), "files": None}
        said |= {name: self._relative(said[name]) for name in _PATHS if said[name]}
        return (
            _SCHEMA,
            json.dumps(said, sort_keys=True, default=str),
            *(_digest(path) for path in _files_of(entry)),
            target,
            json.dumps(asdict(state), sort_keys=True),
            self._surroundings,
        )

    def _relative(self, path: str | Path) -> str:
        below = Path(path).is_relative_to(self._folder)
        return str(Path(path).relative_to(self._folder) if below else path)

    @cached_property
    def _surroundings(self) -> str:
        """Everything that is the same for all cells."""
        packages = sorted({f"{found.name} {found.version}" for found in distributions()})
        ours = [_digest(_OURS / name) for name in ("compiler", "backends")]
        return json.dumps([packages, ours, self._host], sort_keys=True, default=str)


def _files_of(entry: Entry) -> list[Path]:
    """The model's own file or folder, what builds it, and what the manifest names."""
    named = (entry.model, entry.factory, entry.translate, entry.calibration)
    paths = [Path(re.sub(r"(\.py):[\w.]+$", r"\1", name)) for name in named if name is not None]
    paths += [path for path in (entry.data, *entry.files) if path is not None]
    return [path for path in paths if path.exists()]


def _digest(path: Path) -> str:
    """Of a file, or of all that a folder holds."""
    if path.is_file():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            total.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return total.hexdigest()
