"""TorchScript: its code runs in torch's own interpreter, some of it (`__setstate__`) while it is loaded.

That interpreter has operators that write files. They can be reached as `torch.save`, through an alias of `torch`, or
by `getattr`, so here `torch` and `ops` may appear only as torch's serialiser prints them: straight before a call.
"""

from __future__ import annotations

import re
from pathlib import Path

from compiler.errors import CompileError
from compiler.frontend.hostile.archives import damaged, open_archive

# All the source text of a model; a large one has a few megabytes.
MAX_CODE = 64 * 1024 * 1024

FILE_OPERATORS = frozenset({"save", "from_file", "load_tensor"})
_NAMESPACES = frozenset(
    {
        "aten",
        "prim",
        "prims",
        "quantized",
        "_quantized",
        "torchvision",
        "sparse",
        "mkldnn",
        "mkldnn_prepacked",
        "onednn",
    }
)

_TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
_LIBRARY = re.compile(r"(?<![\w.])(?:torch|ops)\b")
_CALL = re.compile(r"(?:torch|ops\.(\w+))\.(\w+)\(")


def check_torchscript(path: Path) -> None:
    with open_archive(path) as archive:
        code = [member for member in archive.under("code/") if member.endswith(".py")]
        if sum(archive.members[member].file_size for member in code) > MAX_CODE:
            raise _unsafe(path, f"its source text is larger than {MAX_CODE:,} bytes")
        for member in code:
            try:
                text = archive.read(member).decode("utf-8")
            except UnicodeDecodeError as error:
                raise damaged(path.name, f"{member} is no text: {error}") from error
            if found := _first_unusual(text):
                raise _unsafe(path, f"{member} has {found!r}")


def _first_unusual(text: str) -> str | None:
    code = _TEXT.sub('""', text)
    if "'" in code or code.count('"') % 2 or "\\" in code:
        return "a text without an end"
    for use in _LIBRARY.finditer(code):
        call = _CALL.match(code, use.start())
        if call is None or call[2] in FILE_OPERATORS or (call[1] and call[1] not in _NAMESPACES):
            return code[use.start() :].partition("\n")[0][:60]
    return None


def _unsafe(path: Path, why: str) -> CompileError:
    return CompileError(
        "unsafe-file",
        f"{path} is refused: its code could write files, even while it is loaded",
        why=why,
        hint="--trust, if you trust its source",
    )
