"""Whatever happens to the bytes of a file, the answer is a format, an object or an error in our voice."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from test_detect import FORMATS

from compiler.errors import PlumblineError
from compiler.frontend.detect import Format, detect, pickled_globals
from compiler.frontend.loaders.exported import load_exported
from compiler.frontend.loaders.onnx import load_onnx
from compiler.frontend.loaders.statedict import load_state_dict
from compiler.frontend.loaders.torchscript import load_torchscript

SEED, ROUNDS = 20261, 60

OPENERS: dict[Format, Callable[[Path], object]] = {
    Format.EXPORTED_PROGRAM: load_exported,
    Format.TORCHSCRIPT: load_torchscript,
    Format.ONNX: load_onnx,
    Format.STATE_DICT: lambda path: load_state_dict(path, Format.STATE_DICT),
    Format.SAFETENSORS: lambda path: load_state_dict(path, Format.SAFETENSORS),
    Format.PICKLED_MODULE: pickled_globals,
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        place = rng.randrange(len(changed) + 1)
        match rng.choice(["replace", "replace", "cut", "insert", "copy"]):
            case "replace":
                changed[place : place + 1] = rng.randbytes(1)
            case "cut":
                del changed[place : place + rng.choice([1, 4, 50])]
            case "insert":
                changed[place:place] = rng.randbytes(rng.choice([1, 4, 20]))
            case "copy":
                other = rng.randrange(len(changed) + 1)
                changed[place : place + 8] = changed[other : other + 8]
    return bytes(changed)


def mutated_member(data: bytes, rng: random.Random) -> bytes:
    """Damage within one member, so that the archive around it stays whole."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, mutated(old.read(name), rng) if name == chosen else old.read(name))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_damaged_files(write, tmp_path):
    rng = random.Random(f"{SEED} {write.__name__}")
    whole, path = tmp_path / "whole", tmp_path / "damaged"
    write(whole)
    data = whole.read_bytes()
    for number in range(ROUNDS):
        inside = data.startswith(b"PK") and rng.random() < 0.6
        path.write_bytes(mutated_member(data, rng) if inside else mutated(data, rng))
        try:
            OPENERS[detect(path)](path)
        except PlumblineError as error:
            assert error.why, (SEED, number)
