"""Folders in the cache of the project for what TVM made."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from compiler import cache


def folder(kind: str, *content: str) -> Path | None:
    """For this content and these versions of TVM; None where nothing can be kept.

    What lies there becomes part of programs, so the folder has to be one that nobody else can write to.
    """
    versions = [f"{name} {version(name)}" for name in ("apache-tvm", "apache-tvm-ffi")]
    place = cache.folder(kind, *versions, *content)
    if place is None or os.name != "posix":
        return place
    state = place.stat()
    return place if state.st_uid == os.getuid() and not state.st_mode & 0o022 else None
