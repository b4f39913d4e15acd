"""Archives, pickles and safetensors built to do harm are refused; honest ones pass."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_files import refused, written
from safetensors.torch import save_file
from torch import nn

from compiler.errors import CompileError
from compiler.frontend.hostile import archives
from compiler.frontend.hostile.archives import open_archive
from compiler.frontend.hostile.pickles import TENSOR_GLOBALS, foreign_globals
from compiler.frontend.hostile.safetensors import check_safetensors


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


# -- pickles ----------------------------------------------------------------------------------------------------


def foreign(data: bytes) -> tuple[str, ...]:
    return foreign_globals(io.BytesIO(data))


def test_our_list_is_a_part_of_what_torch_calls_safe():
    from torch._weights_only_unpickler import _get_allowed_globals

    ours = {name.replace("__builtin__", "builtins") for name in TENSOR_GLOBALS}
    assert ours <= set(_get_allowed_globals())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_imports_are_found_in_every_protocol(protocol):
    assert foreign(pickle.dumps(Evil(Path("x")), protocol)) == (f"{os.system.__module__}.system",)
    harmless = {"a": [1, 2.5, "text", b"bytes", None, True, (1, 2, 3, 4)], "b": {"c": {1}}, "n": 10**30}
    assert set(foreign(pickle.dumps(harmless, protocol))) <= {"builtins.frozenset"}


@pytest.mark.parametrize("protocol", [2, 4])
def test_saved_tensors_import_nothing_foreign(protocol):
    values = {
        "parameter": nn.Parameter(torch.ones(2)),
        "half": torch.ones(2).half(),
        "sparse": torch.eye(3).to_sparse(),
        "bits": torch.zeros(2, dtype=torch.float8_e4m3fn),
        "complex": torch.ones(2) * 1j,
        "meta": torch.ones(2, device="meta"),
        "dtype": torch.bfloat16,
        "size": torch.Size([1]),
        "module": nn.BatchNorm1d(2).state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(values, buffer, pickle_protocol=protocol)
    with open_archive(buffer.getvalue()) as archive:
        assert foreign(archive.read("data.pkl")) == ()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"cos\nsystem\n.", "os.system"),
        (b"(S'ls'\nios\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        # The names come out of the memo, in another order than they were written in.
        (b"\x80\x04\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00\x93.", "os.system"),
        (b"\x80\x04\x8c\x02osp7\n0g7\n\x8c\x06systemr\x09\x00\x00\x000j\x09\x00\x00\x00\x93.", "os.system"),
        # Decoys that a scan for the last two texts would take for the name.
        (b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x0bcollections\x8c\x0bOrderedDict00\x93.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system(\x8c\x0bcollections\x8c\x0bOrderedDict1\x93.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system(\x8c\x05torch\x8c\x04Sizet0\x93.", "os.system"),
        (b"\x80\x04(\x8c\x02os\x8c\x06systeml2\x8c\x05torch0\x93.", "a name computed while loading"),
        (b"\x80\x04\x8c\x05torch\x8c\x0e_utils.os.path\x93.", "torch._utils.os.path"),
        (b"\x80\x02\x82\x07.", "extension code 7"),
        (b"\x80\x02\x83\x07\x01.", "extension code 263"),
        (b"ctorch os\nsystem\n.", "a name computed while loading"),
        (b"ctorch\nSize os\n.", "a name computed while loading"),
    ],
)  # fmt: skip
def test_imports_are_found_however_they_are_written(data, expected):
    assert foreign(data) == (expected,)


def test_what_python_would_import_is_what_we_say():
    """The decoys above, checked against the real unpickler."""

    class Spy(pickle.Unpickler):
        found: tuple[str, str] | None = None

        def find_class(self, module: str, name: str) -> Any:
            self.found = (module, name)
            return len

    for data in (
        b"\x80\x04\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00\x93.",
        b"\x80\x04\x8c\x02osp7\n0g7\n\x8c\x06systemr\x09\x00\x00\x000j\x09\x00\x00\x00\x93.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x0bcollections\x8c\x0bOrderedDict00\x93.",
        b"\x80\x04\x8c\x02os\x8c\x06system(\x8c\x0bcollections\x8c\x0bOrderedDict1\x93.",
        b"\x80\x04\x8c\x02os\x8c\x06system(\x8c\x05torch\x8c\x04Sizet0\x93.",
    ):
        spy = Spy(io.BytesIO(data))
        spy.load()
        assert spy.found is not None
        assert (".".join(spy.found),) == foreign(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x80\x04", b"cos\n", b"}}}", b"\xff.", b"0.", b"t.", b"\x80\x04\x93."]
)
def test_damaged_pickles(data):
    with pytest.raises(CompileError) as caught:
        foreign(data)
    assert caught.value.code == "truncated-file"


def test_endless_pickle(monkeypatch):
    from compiler.frontend.hostile import pickles

    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(CompileError, match="too long"):
        foreign(b"}0" * 1000 + b"}.")


# -- archives ---------------------------------------------------------------------------------------------------


def open_only(path: Path) -> None:
    with open_archive(path):
        pass


@pytest.mark.parametrize("name", ["../up", "m/../../up", "/etc/passwd", "m//x", "m\\..\\x", "m/\n"])
def test_members_that_leave_the_archive(name, tmp_path):
    refused(open_only, written(tmp_path / "a.pt", {"m/data.pkl": b"", name: b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"harmless")
        archive.writestr("m/data.pkl", b"harmful")
    refused(open_only, tmp_path / "a.pt", "two members")
    # torch's reader takes the first whose name agrees but for case.
    refused(open_only, written(tmp_path / "b.pt", {"m/data.pkl": b"", "m/DATA.pkl": b""}), "two members")


def test_zip_bomb(tmp_path):
    path = written(tmp_path / "a.pt", {"m/code/x.py": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(open_only, path, "would grow")


def test_many_members_that_inflate(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_INFLATED", 1_000_000)
    noise = np.random.default_rng(0).integers(0, 16, 300_000).astype(np.uint8).tobytes()
    members = {f"m/code/{index}.py": noise for index in range(5)}
    refused(open_only, written(tmp_path / "a.pt", members, zipfile.ZIP_DEFLATED), "compressed members")


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    refused(open_only, written(tmp_path / "a.pt", {f"m/{index}": b"" for index in range(11)}), "members")


def test_compression_that_torch_does_not_read(tmp_path):
    refused(open_only, written(tmp_path / "a.pt", {"m/x": b"x" * 99}, zipfile.ZIP_BZIP2), "compressed in a way")


def test_members_that_overlap(tmp_path):
    path = written(tmp_path / "a.pt", {f"m/{index}": b"x" * 1000 for index in range(3)})
    data = bytearray(path.read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(data)):
        data[entry.start() + 42 : entry.start() + 46] = struct.pack("<L", 0)  # all at the first one's place
        data[entry.start() + 20 : entry.start() + 28] = struct.pack("<LL", 2500, 2500)
    path.write_bytes(data)
    refused(open_only, path, "overlap")


def test_archive_behind_other_data(tmp_path):
    path = written(tmp_path / "a.pt", {"m/data.pkl": b"x"})
    path.write_bytes(b"PK\x03\x04 something else" + path.read_bytes())
    refused(open_only, path, "put before")


def test_archive_with_something_behind_it(tmp_path):
    path = written(tmp_path / "a.pt", {"m/data.pkl": b"x"})
    path.write_bytes(path.read_bytes() + b"tail")
    refused(open_only, path, "follows its index")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"x")
        archive.comment = b"PK\x05\x06" + bytes(18)
    refused(open_only, tmp_path / "b.pt")


def test_two_indices(tmp_path):
    """A 64-bit index elsewhere in the file: Python reads the one before the end, torch the one pointed to."""
    inner = written(tmp_path / "inner.pt", {"m/data.pkl": b"x"}).read_bytes()
    end = inner.rindex(b"PK\x05\x06")
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, *struct.unpack("<LL", inner[end + 12 : end + 20])
    )
    for place, why in ((end, None), (0, "64-bit index")):
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, place, 1)
        path = tmp_path / "a.pt"
        path.write_bytes(inner[:end] + record + locator + inner[end:])
        if why:
            refused(open_only, path, why)
        else:
            open_only(path)


def test_encrypted_member(tmp_path):
    path = written(tmp_path / "a.pt", {"m/data.pkl": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(open_only, path, "encrypted")


def test_cut_archive(tmp_path):
    path = written(tmp_path / "a.pt", {"m/data.pkl": b"x" * 1000})
    path.write_bytes(path.read_bytes()[:-40])
    refused(open_only, path, "index", "truncated-file")


# -- safetensors ------------------------------------------------------------------------------------------------


def safetensors(path: Path, header: Any, payload: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)
    return path


def entry(begin: int, end: int, shape: tuple[int, ...] = (1,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_honest_safetensors_pass(tmp_path):
    tensors = {"a": torch.ones(3, 2), "b": torch.zeros(2, dtype=torch.bool), "empty": torch.ones(0, 3).half()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    check_safetensors(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"a": entry(0, 4), "b": entry(2, 6)}, "unsafe-file"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, "unsafe-file"),
        ({"a": entry(0, 400, (100,))}, "truncated-file"),
        ({"a": entry(-4, 0)}, "unsafe-file"),
        ({"a": entry(4, 0)}, "unsafe-file"),
        ({"a": entry(0, 8)}, "unsafe-file"),
        ({"a": entry(0, 4, (-1, -1))}, "unsafe-file"),
        ({"a": entry(0, 4, (2**62, 2**62))}, "unsafe-file"),
        ({"a": {"dtype": "F32"}}, "unsafe-file"),
        ({"a": 3}, "unsafe-file"),
        ({"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, "unsafe-file"),
        ([], "unsafe-file"),
        (b"{", "truncated-file"),
        (b"\xff\xff", "truncated-file"),
        (b"[" * 100_000, "truncated-file"),
    ],
)
def test_broken_safetensors(header, code, tmp_path):
    refused(check_safetensors, safetensors(tmp_path / "m", header, bytes(8)), code=code)


@pytest.mark.parametrize("length", [100, 10**9, 2**63])
def test_safetensors_header_longer_than_the_file(length, tmp_path):
    (tmp_path / "m").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(CompileError):
        check_safetensors(tmp_path / "m")
