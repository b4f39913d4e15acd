"""What the tests of hostile files share."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.errors import CompileError


def refused(check: Callable[[Path], object], path: Path, why: str = "", code: str = "unsafe-file") -> CompileError:
    with pytest.raises(CompileError) as caught:
        check(path)
    assert caught.value.code == code
    assert why in (caught.value.why or "")
    assert caught.value.hint
    return caught.value


def written(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
