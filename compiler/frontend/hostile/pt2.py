"""`.pt2` archives, looked into before torch is handed them: torch would unpickle, evaluate or import parts of them.

Where torch 2.13 runs what a file says (torch/export/pt2_archive/_package.py, torch/_export/serde/serialize.py):
tensors whose entry says `use_pickle`, opaque and custom objects, the older layouts and any sample inputs that the
safe unpickler refuses; compiled code under data/aotinductor; and the program's own text, see `program_text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from compiler.errors import CompileError
from compiler.frontend.hostile.archives import Archive, damaged, open_archive
from compiler.frontend.hostile.pickles import foreign_globals
from compiler.frontend.hostile.program_text import check_program, is_plain_name

# A graph of 100,000 nodes with its provenance is about 200 MB of text.
MAX_PROGRAM = 512 * 1024 * 1024
# Sample inputs are a batch or two.
MAX_SAMPLE_INPUTS = 1024 * 1024 * 1024

_MODEL = r"[\w.\- ]+"
_EXPECTED = re.compile(
    rf"archive_format|archive_version|byteorder|version|\.format_version|\.storage_alignment"
    rf"|\.data/(?:version|serialization_id)"
    rf"|models/{_MODEL}\.json|data/sample_inputs/{_MODEL}\.pt|extra/.*"
    rf"|data/weights/(?:weight_\d+|{_MODEL}_weights_config\.json)"
    rf"|data/constants/(?:tensor_\d+|{_MODEL}_constants_config\.json)"
)
_REFUSED = (
    (re.compile(r"data/constants/(?:opaque|custom)_obj_.*"), "an object that torch would unpickle"),
    (re.compile(r"data/aotinductor/.*"), "native code, which torch would load"),
    (re.compile(r"data/(?:weights|constants)/.*\.pt"), "tensors in an older layout, which torch may unpickle"),
)

_SAVED_TENSORS = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/(?:version|serialization_id)|data/\d+"
)


def check_pt2(path: Path) -> None:
    """Refuse an archive that makes torch do more than rebuild tensors and a graph."""
    with open_archive(path) as archive:
        if "serialized_exported_program.json" in archive:
            raise old_layout(path)
        if "archive_format" not in archive or not archive.root:
            raise damaged(path.name, "it has no archive_format, as every .pt2 archive does")
        for member in archive.members:
            if not _EXPECTED.fullmatch(member):
                why = next((why for pattern, why in _REFUSED if pattern.fullmatch(member)), "no part of a .pt2 file")
                raise _unsafe(path, f"{member} is {why}")
        for member in archive.members:
            if member.startswith("models/"):
                check_program(archive.read(member, MAX_PROGRAM), f"{path.name}, {member}")
            elif member.endswith("_config.json"):
                _check_payloads(path, archive, member)
            elif member.startswith("data/sample_inputs/"):
                _check_saved_tensors(path, member, archive.read(member, MAX_SAMPLE_INPUTS), "the example inputs")


def old_layout(path: Path) -> CompileError:
    return CompileError(
        "old-format",
        f"{path} is a .pt2 file in the layout that torch wrote until 2.7",
        why="this torch reads it only by unpickling what it holds",
        hint="load it with the torch that wrote it, and save it with a newer one: torch.export.save",
    )


def _unsafe(path: Path, why: str, foreign: Sequence[str] = ()) -> CompileError:
    imports = f", which imports {', '.join(foreign[:5])}" if foreign else ""
    return CompileError(
        "unsafe-file",
        f"{path} is refused: loading it could run code",
        why=why + imports,
        hint="save it again without example inputs or tensor subclasses; --trust, if you trust its source",
    )


def _check_payloads(path: Path, archive: Archive, member: str) -> None:
    folder = member.rpartition("/")[0]
    try:
        entries: dict[str, Any] = json.loads(archive.read(member, MAX_PROGRAM).decode("utf-8"))["config"]
        payloads = {name: (entry["path_name"], bool(entry["use_pickle"])) for name, entry in entries.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path.name, f"{member} is no table of tensors: {error}") from error
    for name, (file, pickled) in payloads.items():
        if f"{folder}/{file}" not in archive:
            raise damaged(path.name, f"{member} names {file!r}, which the archive does not hold")
        if not is_plain_name(name):
            raise _unsafe(path, f"{member} names a tensor {name!r}")
        if pickled:
            _check_saved_tensors(path, f"{folder}/{file}", archive.read(f"{folder}/{file}"), f"the tensor {name}")


def _check_saved_tensors(path: Path, member: str, data: bytes, what: str) -> None:
    """An archive of torch.save's within the archive, holding tensors and plain containers only."""
    if not data:
        return
    if not data.startswith(b"PK\x03\x04"):
        raise _unsafe(path, f"{what} in {member} are a bare pickle")
    with open_archive(data, f"{path.name}, {member}") as saved:
        for inner in saved.members:
            if not _SAVED_TENSORS.fullmatch(inner):
                raise _unsafe(path, f"{what} in {member} hold {inner}, no part of saved tensors")
        if "data.pkl" not in saved:
            raise damaged(path.name, f"{member} has no data.pkl")
        if foreign := foreign_globals(BytesIO(saved.read("data.pkl"))):
            raise _unsafe(path, f"{what} in {member} are a pickle", foreign)
