"""The one cache: what a runtime can make again from the same content, but would rather not.

    <root>/<kind>/<key>/     a folder for each key; whoever asks for it fills it

The least recently used folders go when the whole is larger than its limit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = "PLUMBLINE_CACHE"  # where it is; "off" means nowhere
LIMIT = "PLUMBLINE_CACHE_LIMIT"  # in GiB
_DEFAULT_LIMIT = 10.0
_USED = ".used"  # its time tells when a folder was last asked for


@dataclass(frozen=True)
class Entry:
    kind: str
    folder: Path
    size: int
    used: float  # seconds since the epoch


def root() -> Path | None:
    """None where the user wants no cache."""
    told = os.environ.get(ROOT)
    if told is not None:
        return None if told in ("", "off") else Path(told)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "plumbline"


def folder(kind: str, *content: str) -> Path | None:
    """The folder for this content, which names everything that what is kept depends on, versions too."""
    base = root()
    if base is None:
        return None
    key = hashlib.sha256("\0".join(content).encode()).hexdigest()[:32]
    place = base / kind / key
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        (place / _USED).touch()
    except OSError:
        return None  # a read-only home is no reason to fail: it is only a cache
    _trim(keep=place)
    return place


def entries() -> list[Entry]:
    """The most recently used first."""
    return sorted(_entries(), key=lambda entry: -entry.used)


def clear(kind: str | None = None) -> int:
    """Remove everything, or everything of one kind; how many bytes that gave back."""
    freed = 0
    for entry in _entries():
        if kind in (None, entry.kind):
            freed += entry.size
            shutil.rmtree(entry.folder, ignore_errors=True)
    return freed


def _entries() -> Iterator[Entry]:
    base = root()
    for place in base.glob("*/*") if base is not None else ():
        marker = place / _USED
        if marker.is_file():
            yield Entry(place.parent.name, place, _size(place), marker.stat().st_mtime)


def _size(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def _trim(keep: Path) -> None:
    limit = float(os.environ.get(LIMIT, _DEFAULT_LIMIT)) * 2**30
    total = 0
    for entry in entries():
        total += entry.size
        if total > limit and entry.folder != keep:
            shutil.rmtree(entry.folder, ignore_errors=True)
