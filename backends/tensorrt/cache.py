"""What TensorRT compiles or measures on a machine, kept in a folder that the user names.

It is code for the GPU, so the folder has to be the user's own. A file belongs to all that its name is made of: another
engine, runtime, GPU or driver has another file. TensorRT checks once more whether the content fits.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from backends.tensorrt.gpu import Gpu, driver_version
from compiler.errors import UsageError


class CacheFile:
    def __init__(self, folder: str, kind: str, gpu: Gpu, *belongs_to: str) -> None:
        place = Path(folder).expanduser()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_shared(place)
        key = "\n".join((kind, str(gpu), driver_version(), *belongs_to))
        self._file = place / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"

    def read(self) -> bytes:
        """What was kept, or nothing."""
        return self._file.read_bytes() if self._file.exists() else b""

    def write(self, content: bytes) -> None:
        """Whole or not at all, also with several processes at it."""
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        beside.write_bytes(content)
        beside.replace(self._file)


def _refuse_shared(folder: Path) -> None:
    state = folder.stat()
    if os.name == "posix" and (state.st_uid != os.getuid() or state.st_mode & 0o022):
        raise UsageError(
            "bad-option",
            f"the cache cannot lie in '{folder}'",
            why="others can write there, and what lies there is run",
            hint="a folder of your own: chmod go-w, or another one",
        )


def digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
