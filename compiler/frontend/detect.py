"""What a file is, told by its content and never by its name. Neither torch nor onnx is imported for it."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from compiler.errors import CompileError, UsageError, did_you_mean
from compiler.frontend.hostile.archives import Archive, damaged, open_archive
from compiler.frontend.hostile.pickles import foreign_globals
from compiler.frontend.hostile.pt2 import old_layout
from compiler.frontend.hostile.safetensors import MAX_HEADER, read_header


class Format(StrEnum):
    EXPORTED_PROGRAM = "pt2"
    TORCHSCRIPT = "torchscript"
    STATE_DICT = "state-dict"
    SAFETENSORS = "safetensors"
    HUGGING_FACE = "hugging-face"
    ONNX = "onnx"
    PICKLED_MODULE = "pickled-module"
    BUNDLE = "bundle"
    FACTORY = "factory"


WEIGHT_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
)

# 0x1950a86a20f9469cfc6c as torch pickled it ahead of everything else until version 1.6.
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

_KNOWN = (
    (0, b"GGUF", "a GGUF file, llama.cpp's own format", "start from the model it was converted from"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", "export the model to ONNX first"),
    (0, b"\x93NUMPY", "a numpy array: data, not a model", "give the model it is meant for"),
    (0, b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (0, b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (0, b"BZh", "compressed with bzip2", "unpack it first"),
    (0, b"(\xb5/\xfd", "compressed with zstd", "unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (0, b"\x7fELF", "native code", "give the PyTorch or ONNX model it was built from"),
    (0, b"ptrt", "a TensorRT engine, already built", "give the PyTorch or ONNX model it was built from"),
    (0, b"ftrt", "a TensorRT engine, already built", "give the PyTorch or ONNX model it was built from"),
    (4, b"TFL3", "a TensorFlow Lite model", "export the model to ONNX first"),
    (4, b"ET12", "an ExecuTorch program, already compiled", "give the program it was made from"),
    (257, b"ustar", "a tar archive", "unpack it and give the model within"),
)

_DIRECTORY_HINTS = (
    ("model_index.json", "it is a diffusers pipeline of several models", "give the folder of one, such as unet/"),
    ("adapter_config.json", "it is an adapter without its base model", "merge it first: model.merge_and_unload()"),
    ("saved_model.pb", "it is a TensorFlow SavedModel", "export the model to ONNX first"),
    ("tf_model.h5", "its weights are TensorFlow's", "save it again from PyTorch: model.save_pretrained(...)"),
    ("flax_model.msgpack", "its weights are Flax's", "save it again from PyTorch: model.save_pretrained(...)"),
)

_FACTORY = re.compile(r"(?:.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def is_factory_reference(text: str) -> bool:
    """Whether this is "file.py:factory" or "package.module:factory"."""
    return _FACTORY.fullmatch(text) is not None


def detect(path: str | Path) -> Format:
    """The format of a file or folder, or an error that says what it is instead."""
    text, path = str(path), Path(path)
    try:
        if is_factory_reference(text) and not path.exists():
            return Format.FACTORY
        if path.is_dir():
            return _detect_directory(path)
        if not path.exists():
            raise no_such_file(path)
        if not path.is_file():
            raise _not_a_model(path, "it is a device or a pipe, not a file", "save the model in a file")
        return _detect_file(path)
    except PermissionError as error:
        raise UsageError(
            "unreadable-file",
            f"{path} cannot be read",
            why=f"you may not read {error.filename}" if error.filename else "permission denied",
            hint=f"chmod u+r {path}, or run as someone who may read it",
        ) from error
    except OSError as error:
        # A name that is too long, a disk that fails.
        raise UsageError(
            "unreadable-file", f"{text!r} cannot be read", why=str(error), hint="check the name, and the disk it is on"
        ) from error


def no_such_file(path: Path) -> UsageError:
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        siblings = []
    same_stem = next((name for name in sorted(siblings) if Path(name).stem == path.stem), None)
    near = did_you_mean(path.name, siblings) or (f"did you mean '{same_stem}'?" if same_stem else None)
    if not path.parent.exists():
        why = f"there is no folder {path.parent}"
    else:
        why = f"{path.parent.absolute()} has nothing of that name"
    return UsageError("no-such-file", f"there is no {path}", why=why, hint=near)


def _not_a_model(path: Path, why: str, hint: str) -> CompileError:
    return CompileError("not-a-model", f"{path} is not a model that can be compiled", why=why, hint=hint)


# ---------------------------------------------------------------------------------------------------------------
# Files


def _detect_file(path: Path) -> Format:
    with path.open("rb") as stream:
        head = stream.read(4096)
        if not head:
            raise CompileError(
                "empty-file", f"{path} is empty", why="it has 0 bytes", hint="save or download the model again"
            )
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _detect_archive(path)
        if head[:1] == b"\x80":
            return _detect_pickle(path, stream)
        if _is_safetensors(head):
            read_header(path)
            return Format.SAFETENSORS
        if is_lfs_pointer(path):
            raise lfs_pointer(path)
        for offset, magic, what, hint in _KNOWN:
            if head[offset:].startswith(magic):
                raise _not_a_model(path, f"it is {what}", hint)
        if _is_text(head):
            raise _text_file(path, head)
        if _is_onnx(path, stream):
            return Format.ONNX
    raise _not_a_model(
        path,
        f"it starts with {head[:8].hex(' ')}, which no format known here does",
        "give a .pt2, TorchScript, safetensors or ONNX file, a checkpoint, or a Hugging Face folder",
    )


def _detect_archive(path: Path) -> Format:
    with open_archive(path) as archive:
        if "archive_format" in archive:
            return _detect_pt2(path, archive)
        if "serialized_exported_program.json" in archive:
            raise old_layout(path)
        if "constants.pkl" in archive:
            if archive.under("code/"):
                return Format.TORCHSCRIPT
            raise _not_a_model(path, "it is TorchScript without its code", "save it again with torch.jit.save")
        if "data.pkl" in archive:
            foreign = foreign_globals(BytesIO(archive.read("data.pkl")))
            return Format.PICKLED_MODULE if foreign else Format.STATE_DICT
        if archive.members and all(member.endswith(".npy") for member in archive.members):
            raise _not_a_model(
                path, "it is an npz of numpy arrays: data, not a model", "give the model it is meant for"
            )
        if "MAR-INF/MANIFEST.json" in archive or archive.root == "MAR-INF/":
            raise _not_a_model(path, "it is a TorchServe archive", "unzip it and give the model within")
        shown = ", ".join(list(archive.members)[:4]) or "nothing"
    raise _not_a_model(path, f"it is a zip archive that holds {shown}", "unzip it and give the model within")


def _detect_pt2(path: Path, archive: Archive) -> Format:
    if archive.read("archive_format", limit=64).strip() != b"pt2":
        raise _not_a_model(path, "its archive_format is not pt2", "save it again with torch.export.save")
    if archive.under("models/"):
        return Format.EXPORTED_PROGRAM
    if archive.under("data/aotinductor/"):
        raise _not_a_model(
            path,
            "it holds native code that AOTInductor has compiled, and no graph",
            "give the program it was made from: torch.export.save(program, ...)",
        )
    raise _not_a_model(path, "it is a .pt2 archive without a program", "save it again with torch.export.save")


def _detect_pickle(path: Path, stream: BinaryIO) -> Format:
    stream.seek(0)
    if stream.read(len(_LEGACY_MAGIC) + 2)[2:] != _LEGACY_MAGIC:
        raise _not_a_model(
            path,
            "it is a pickle that torch did not write (joblib, or pickle.dump)",
            "load it where it was made and save it with torch.save or torch.export.save",
        )
    return Format.PICKLED_MODULE if pickled_globals(path) else Format.STATE_DICT


def pickled_globals(path: Path) -> tuple[str, ...]:
    """The names that loading this torch.save file would import, beyond what rebuilds tensors."""
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            stream.seek(0)
            # A magic number, the protocol, facts of the machine, and then what was saved.
            return tuple(dict.fromkeys(name for _ in range(4) for name in foreign_globals(stream)))
    with open_archive(path) as archive:
        if "data.pkl" not in archive:
            raise damaged(path.name, "it has no data.pkl, as every file of torch.save does")
        return foreign_globals(BytesIO(archive.read("data.pkl")))


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER


def is_lfs_pointer(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(43) == b"version https://git-lfs.github.com/spec/v1\n"


def lfs_pointer(path: Path) -> CompileError:
    return CompileError(
        "git-lfs-pointer",
        f"{path} is a Git LFS pointer, not the model itself",
        why="the repository was cloned without its large files",
        hint="git lfs pull",
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t\f\v" for character in text)


def _text_file(path: Path, head: bytes) -> CompileError:
    start = head.decode("utf-8", "replace").lstrip().lower()
    if path.suffix == ".py":
        return _not_a_model(path, "it is Python source", f"name what builds the model: {path}:make_model")
    if start.startswith(("<!doctype html", "<html")):
        return _not_a_model(path, "it is a web page; the download gave an error page", "download the model again")
    if start.startswith("<?xml") and "<net" in start:
        return _not_a_model(path, "it is OpenVINO IR, already converted", "give the model it was made from")
    first = start.partition("\n")[0][:60]
    return _not_a_model(path, f"it is a text file that starts with {first!r}", "give the model file itself")


# ---------------------------------------------------------------------------------------------------------------
# ONNX, on the wire

_ONNX_VARINTS = {1, 5}  # ir_version, model_version
_ONNX_MESSAGES = {2, 3, 4, 6, 7, 8, 14, 20, 25, 26}
_GRAPH, _OPSET = 7, 8


def _is_onnx(path: Path, stream: BinaryIO) -> bool:
    """Whether the file is one sequence of ModelProto's own fields, with a graph and an opset among them."""
    size = stream.seek(0, 2)
    stream.seek(0)
    seen: set[int] = set()
    while stream.tell() < size:
        tag = _varint(stream)
        if tag is None:
            return False
        field, kind = tag >> 3, tag & 7
        length = _varint(stream)
        if kind == 0 and field in _ONNX_VARINTS and length is not None:
            seen.add(field)
        elif kind == 2 and field in _ONNX_MESSAGES and length is not None:
            if stream.tell() + length > size:
                if 1 in seen:
                    raise damaged(
                        path.name, f"an ONNX model of at least {stream.tell() + length:,} bytes, cut at {size:,}"
                    )
                return False
            stream.seek(length, 1)
            seen.add(field)
        else:
            return False
    if 1 in seen and _GRAPH not in seen:
        raise damaged(path.name, "an ONNX model without a graph")
    return _GRAPH in seen and (_OPSET in seen or 1 in seen)


def _varint(stream: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


# ---------------------------------------------------------------------------------------------------------------
# Folders


def _detect_directory(path: Path) -> Format:
    manifest, config = read_json(path / "manifest.json"), read_json(path / "config.json")
    if "schema" in manifest:
        return Format.BUNDLE
    weights = weight_files(path)
    if ("model_type" in config or "architectures" in config) and weights:
        for file in weights:
            if is_lfs_pointer(file):
                raise lfs_pointer(file)
        return Format.HUGGING_FACE
    for name, why, hint in _DIRECTORY_HINTS:
        if (path / name).exists():
            raise _not_a_model(path, why, hint)
    if config:
        if weights:
            raise _not_a_model(path, "its config.json names no model_type", "add it, or give a file:factory")
        raise _not_a_model(
            path,
            f"it has a config.json but no weights ({', '.join(WEIGHT_FILES[:3])})",
            "download the weights, too",
        )
    models = [entry.name for entry in sorted(path.iterdir()) if entry.suffix in (".pt2", ".pt", ".pth", ".onnx")]
    hint = f"give a file in it: {path / models[0]}" if models else "give a model file, or a folder with these"
    looked_for = "config.json with weights (Hugging Face), or manifest.json with a schema (a bundle)"
    raise _not_a_model(path, f"the folder has neither: {looked_for}", hint)


def weight_files(folder: Path) -> list[Path]:
    """The files of a Hugging Face folder that hold or index weights."""
    return [file for pattern in WEIGHT_FILES for file in sorted(folder.glob(pattern)) if file.is_file()]


def read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CompileError(
            "not-a-model", f"{path} is no valid JSON", why=str(error), hint="get the folder again"
        ) from error
    return value if isinstance(value, dict) else {}
