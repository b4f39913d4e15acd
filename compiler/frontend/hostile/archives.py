"""Zip archives, read strictly enough that torch's own reader sees the same members as we do."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from compiler.errors import CompileError, UsageError

# One member per tensor: the largest mixture-of-experts checkpoints stay below 100,000.
MAX_MEMBERS = 250_000

# torch stores tensors as they are and compresses only TorchScript's source text. Ten megabytes that come out of a
# hundredth of their size are no source text.
MAX_RATIO = 100
RATIO_MATTERS_FROM = 10 * 1024 * 1024
MAX_INFLATED = 1024 * 1024 * 1024

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64_SIZE = 56

# What zipfile raises over damage of one kind or another.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """An open archive whose members were found harmless to list and to read."""

    zip: zipfile.ZipFile
    name: str
    root: str  # the one folder that torch puts everything in; "" when there is none
    members: dict[str, zipfile.ZipInfo]  # by name within the root

    def __contains__(self, member: str) -> bool:
        return member in self.members

    def read(self, member: str, limit: int = MAX_INFLATED) -> bytes:
        info = self.members[member]
        if info.file_size > limit:
            raise _unsafe(self.name, f"{member} is {info.file_size:,} bytes; at most {limit:,} are expected there")
        try:
            return self.zip.read(info)
        except _BROKEN as error:
            raise damaged(self.name, f"{member}: {error}") from error

    def under(self, folder: str) -> list[str]:
        return [member for member in self.members if member.startswith(folder)]


def damaged(name: str, why: str) -> CompileError:
    return CompileError(
        "truncated-file",
        f"{name} is incomplete or damaged",
        why=why,
        hint="copy or download the file again, and compare its size with the original",
    )


def _unsafe(name: str, why: str) -> CompileError:
    return CompileError(
        "unsafe-file",
        f"{name} is refused: no tool of torch writes such an archive",
        why=why,
        hint="get the file again from a source you know, or save the model again with torch",
    )


@contextmanager
def open_archive(source: Path | bytes, name: str | None = None) -> Iterator[Archive]:
    """Open a file (or the bytes of an archive within one) after checking everything that can be told from its index."""
    name = name or (source.name if isinstance(source, Path) else "the archive")
    try:
        handle: IO[bytes] = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("unreadable-file", f"{source!s} cannot be read", why=why, hint="check the path") from error
    with handle:
        size = handle.seek(0, io.SEEK_END)
        _check_end(handle, size, name)
        try:
            archive = zipfile.ZipFile(handle)
        except _BROKEN as error:
            raise damaged(name, f"its index cannot be read: {error}") from error
        with archive:
            infos = archive.infolist()
            _check_members(infos, size, name)
            root = _common_root(infos)
            members = {info.filename[len(root) :]: info for info in infos if not info.is_dir()}
            yield Archive(archive, name, root, members)


def _check_end(handle: IO[bytes], size: int, name: str) -> None:
    """The index must lie where every reader looks for it, or two readers could be shown two different archives."""
    if size < _END.size:
        raise damaged(name, "its end is missing")
    handle.seek(size - _END.size)
    signature, _, _, _, _, length, start, comment = _END.unpack(handle.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        handle.seek(max(0, size - 65_557))
        if b"PK\x05\x06" in handle.read():
            raise _unsafe(name, "something follows its index")
        raise damaged(name, "its index, which a zip archive keeps at the end, is missing")
    end = size - _END.size
    locator_at = end - _END64_LOCATOR.size
    if locator_at >= 0:
        handle.seek(locator_at)
        signature, _, record_at, _ = _END64_LOCATOR.unpack(handle.read(_END64_LOCATOR.size))
        if signature == b"PK\x06\x07":
            end = locator_at - _END64_SIZE
            if record_at != end or end < 0:
                raise _unsafe(name, "its 64-bit index is not where it should be")
            handle.seek(end + 40)
            length, start = struct.unpack("<QQ", handle.read(16))
    if start + length != end:
        raise _unsafe(name, "its index does not reach to its end, or data was put before the archive")


def _check_members(infos: list[zipfile.ZipInfo], size: int, name: str) -> None:
    if len(infos) > MAX_MEMBERS:
        raise _unsafe(name, f"it has {len(infos):,} members; the limit is {MAX_MEMBERS:,}")
    seen: set[str] = set()
    for info in infos:
        member = info.orig_filename
        parts = member.removesuffix("/").split("/")
        if ".." in parts or "" in parts or "\\" in member or not member.isprintable():
            raise _unsafe(name, f"a member's name leaves the archive: {member!r}")
        # torch's reader ignores case when it looks a member up.
        if member.lower() in seen:
            raise _unsafe(name, f"two members are called {member!r}")
        seen.add(member.lower())
        _check_size(info, size, name)
    if sum(info.compress_size for info in infos) > size:
        raise _unsafe(name, "its members overlap: together they are larger than the file")
    if sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED) > MAX_INFLATED:
        raise _unsafe(name, f"its compressed members would take more than {MAX_INFLATED:,} bytes")


def _check_size(info: zipfile.ZipInfo, size: int, name: str) -> None:
    if info.flag_bits & 0x1:
        raise _unsafe(name, f"{info.filename} is encrypted")
    if info.header_offset + info.compress_size > size:
        raise damaged(name, f"{info.filename} reaches beyond the end of the file")
    if info.compress_type == zipfile.ZIP_STORED:
        if info.file_size != info.compress_size:
            raise _unsafe(name, f"{info.filename} states two different sizes")
    elif info.compress_type != zipfile.ZIP_DEFLATED:
        raise _unsafe(name, f"{info.filename} is compressed in a way that torch does not read")
    elif info.file_size > RATIO_MATTERS_FROM and info.file_size > MAX_RATIO * info.compress_size:
        raise _unsafe(name, f"{info.filename} would grow from {info.compress_size:,} to {info.file_size:,} bytes")


def _common_root(infos: list[zipfile.ZipInfo]) -> str:
    roots = {info.filename.partition("/")[0] if "/" in info.filename else "" for info in infos}
    root = roots.pop() if len(roots) == 1 else ""
    return f"{root}/" if root else ""
