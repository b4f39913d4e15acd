"""TensorRT's parser maps a large graph's weights. What was read of them stays in memory beside the copies that the
builder makes, until the kernel needs the room; a build that lets go of it earlier fits into a smaller machine."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

_MADV_DONTNEED = 4


def letting_go(trt: Any, file: Path) -> Any:
    """An IProgressMonitor that hears of the end of each phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str, steps: int) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            return True  # go on

        def phase_finish(self, phase: str) -> None:
            let_go(file)

    return Monitor()


def let_go(file: Path) -> None:
    """Pages that are needed again come from the file; so only mappings that nobody can have written to."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        span, access, *_, path = line.split(maxsplit=5)
        if path == str(file) and access.startswith("r--"):
            start, end = (int(bound, 16) for bound in span.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
