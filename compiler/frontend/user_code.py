"""The border to code that is not ours: a user's factory or forward, and what torch does with them.

Such code may raise anything. Everything is caught here, once, and told in the project's voice, with the line of
the user's file that it came from.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from compiler.errors import CompileError, PlumblineError

_LONGEST = 400  # characters of somebody else's message

# With this torch begins to print a graph or a trace into its message; --debug shows it.
_DUMPS = (
    "class GraphModule", "graph(", "def forward(", "%", "While executing", "Original traceback", "Traceback", "File \"",
    "GraphModule:", "ExportedProgram:",
)  # fmt: skip

_OURS = str(Path(__file__).resolve().parents[1])
_LIBRARIES = ("/torch/", "/transformers/utils/", "/onnxscript/", "/onnx_ir/", "importlib", "/lib/python3")


@contextmanager
def user_code(code: str, message: str, hint: str | None = None) -> Iterator[None]:
    """Whatever is raised inside becomes a CompileError that names the innermost line outside torch and us."""
    try:
        yield
    except PlumblineError:
        raise
    except Exception as error:
        raise CompileError(
            code, message, where=user_line(error.__traceback__), why=first_lines(error), hint=hint
        ) from error


def is_user_file(filename: str) -> bool:
    """Model code: the user's own files, and model libraries such as transformers, but not torch or us."""
    if filename.startswith(("<", _OURS)):
        return False
    if "/site-packages/" in filename:
        tail = filename.rsplit("/site-packages", 1)[1]
        return not any(part in tail for part in _LIBRARIES)
    return not any(part in filename for part in ("/lib/python3", "importlib"))


def user_line(trace: TracebackType | None) -> str | None:
    frames = [frame for frame in traceback.extract_tb(trace) if is_user_file(frame.filename)]
    return show_frame(frames[-1]) if frames else None


def current_user_line() -> str | None:
    """The innermost user line on the running stack."""
    frames = [frame for frame in traceback.extract_stack() if is_user_file(frame.filename)]
    return show_frame(frames[-1]) if frames else None


def show_frame(frame: traceback.FrameSummary) -> str:
    code = f": {frame.line.strip()}" if frame.line else ""
    return f"{frame.filename}:{frame.lineno}{code}"


def first_lines(error: BaseException, limit: int = 3) -> str:
    """What the root of an error chain says, without the pages that torch appends."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines: list[str] = []
    for line in map(str.strip, str(root).splitlines()):
        if len(lines) == limit or (lines and line.startswith(_DUMPS)):
            break
        lines += [line] if line and not line.startswith(_DUMPS) else []
    text = f"{type(root).__name__}: {' '.join(lines)}" if lines else type(root).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
