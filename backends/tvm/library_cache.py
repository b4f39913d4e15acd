"""Compiled libraries, kept in the cache of the project.

A library belongs to the program that LLVM is handed, down to the last tile, to the target, to the versions of TVM and
to the linker. Weights are no part of the program: a model that was trained further finds the library of before.

A library is named by its own hash, so what is not what was put there is seen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.tvm import kept

if TYPE_CHECKING:
    import tvm

KIND = "tvm"


def folder(program: tvm.IRModule, target: Any, command: Sequence[str]) -> Path | None:
    """None where nothing can be kept."""
    import tvm

    return kept.folder(KIND, tvm.ir.save_json(program), str(target), *command)


def fetch(place: Path, library: Path) -> bool:
    """Copy what is kept to where the library belongs, if it is there and whole; what is not whole is removed."""
    for found in place.glob("*.so"):
        shutil.copyfile(found, library)
        if _digest(library) == found.stem:
            return True
        found.unlink()
        library.unlink()
    return False


def keep(library: Path, place: Path) -> None:
    """Whole or not at all, also with several processes at it."""
    beside = place / f"{os.getpid()}.part"
    with suppress(OSError):  # a full disk is no reason to fail: it is only a cache
        shutil.copyfile(library, beside)
        beside.replace(place / f"{_digest(library)}.so")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
