"""safetensors: eight bytes of length, a JSON header, and the tensors one after the other."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

from compiler.errors import CompileError
from compiler.frontend.hostile.archives import damaged

# The limit that the reference implementation sets, too.
MAX_HEADER = 100_000_000

# In bits, because some elements are smaller than a byte.
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip


def _unsafe(path: Path, why: str) -> CompileError:
    return CompileError(
        "unsafe-file",
        f"{path.name} is refused: its header contradicts itself",
        why=why,
        hint="get the file again from a source you know, or save the weights again",
    )


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header, when the file has one within its bounds."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > MAX_HEADER:
            raise _unsafe(path, f"a header of {length:,} bytes; the limit is {MAX_HEADER:,}")
        if 8 + length > size:
            raise damaged(path.name, f"its header should be {length:,} bytes, the file has {size:,}")
        try:
            header = json.loads(stream.read(length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise damaged(path.name, f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise _unsafe(path, "the header is no table of tensors")
    return header


def check_safetensors(path: Path) -> None:
    """Every tensor lies within the file, has the size its shape asks for, and shares its bytes with no other."""
    header = read_header(path)
    with path.open("rb") as stream:
        payload = path.stat().st_size - 8 - int.from_bytes(stream.read(8), "little")
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            whole = all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise _unsafe(path, f"the entry of {name!r} is malformed") from error
        if not whole or begin > end:
            raise _unsafe(path, f"{name!r} has a negative size or offset")
        if end > payload:
            raise damaged(path.name, f"{name!r} ends at byte {end:,} of {payload:,}")
        if dtype in _BITS and math.prod(shape) * _BITS[dtype] != (end - begin) * 8:
            raise _unsafe(path, f"{name!r} is {dtype} {shape} in {end - begin:,} bytes")
        spans.append((begin, end, name))
    spans.sort()
    for (_, end, one), (begin, _, other) in itertools.pairwise(spans):
        if begin < end:
            raise _unsafe(path, f"{one!r} and {other!r} overlap")
