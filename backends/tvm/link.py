"""From TVM's executable to one shared library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compiler.errors import CompileError

_COMPILERS = ("cc", "gcc", "clang")
_LINKERS = ("ld", "ld.lld", "lld", "ld.bfd", "ld.gold")


def linker() -> tuple[str, ...] | None:
    """How a shared library is made here: through a C compiler, or by a bare linker; None where there is neither."""
    for name in _COMPILERS:
        if found := shutil.which(name):
            return found, "-shared", "-fPIC"
    for name in _LINKERS:
        if found := shutil.which(name):
            return found, "-shared"
    return None


def export(executable: Any, library: Path, command: Sequence[str]) -> None:
    """The kernels come as object files from LLVM; no C is compiled, so a bare linker is enough."""
    executable.export_library(str(library), fcompile=_Link(command))


class _Link:
    """What TVM calls with the object files; it asks for the form that it wants them in."""

    object_format = "o"

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def __call__(self, output: str, objects: Sequence[str], **_: Any) -> None:
        command = [*self._command, "-o", output, *objects]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(
                "link-failed",
                "the kernels could not be linked to a shared library",
                where=" ".join(self._command),
                why=(done.stderr or done.stdout).strip().splitlines()[-1],
                hint="install gcc, or take the linker that fails off the PATH",
            )
