"""From TVM's executable to one shared library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
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
    executable.export_library(str(library), fcompile=_linking(command))


def _linking(command: Sequence[str]) -> Callable[..., None]:
    def link(output: str, objects: Sequence[str], **_: Any) -> None:
        done = subprocess.run([*command, "-o", output, *objects], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(
                "link-failed",
                "the kernels could not be linked to a shared library",
                where=" ".join(command),
                why=(done.stderr or done.stdout).strip().splitlines()[-1],
                hint="install gcc, or take the linker that fails off the PATH",
            )

    link.object_format = "o"  # type: ignore[attr-defined]
    return link
