"""Which files a compilation has read: a result may be used again for as long as none of them changes."""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compiler.bundle import sha256

_OURS = Path(__file__).resolve().parents[2]
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_NO_FILES = ("/proc", "/sys", "/dev")


class Touched:
    """Hears of every file that Python opens, from `sys.addaudithook(touched.hear)` on."""

    def __init__(self, *apart: Path) -> None:
        self._paths: set[str] = set()
        # Packages are known by their versions, and plumbline by the hash of its own source.
        python = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
        places = (*python, _OURS / "compiler", _OURS / "backends", *map(Path, _NO_FILES), *apart)
        self._apart = tuple(f"{place.resolve()}{os.sep}" for place in places)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            reads = mode[:1] == "r" if mode else not flags & os.O_ACCMODE
            if reads and isinstance(path, (str, Path)):
                self._paths.add(os.path.abspath(path))  # noqa: PTH100 - a hook must be quick

    def files(self) -> dict[str, str]:
        """Path and hash of each file that was read and still is there."""
        files = {Path(_source(path)) for path in self._paths}
        return {str(file): sha256(file) for file in sorted(files) if file.is_file() and not self._is_apart(file)}

    def _is_apart(self, file: Path) -> bool:
        place = file.resolve()
        return str(place).startswith(self._apart) or not _INSTALLED.isdisjoint(place.parts)


def _source(path: str) -> str:
    """A compiled module stands for its source."""
    return importlib.util.source_from_cache(path) if path.endswith(".pyc") and "__pycache__" in path else path


def unchanged(files: Iterable[tuple[Path, str]]) -> bool:
    return all(file.is_file() and sha256(file) == digest for file, digest in files)
