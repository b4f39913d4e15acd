"""What torch and its friends raise over a broken file, told in one voice."""

from __future__ import annotations

import io
import logging
import pickle
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compiler.errors import CompileError
from compiler.frontend.user_code import first_lines
from compiler.quiet import quiet

# torch reports a broken file with whatever the broken part happened to trip over: its C++ readers raise
# RuntimeError, its Python readers index into tables and convert numbers.
_BROKEN: tuple[type[Exception], ...] = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, OSError, EOFError,
    ImportError, MemoryError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, io.UnsupportedOperation,
)  # fmt: skip


@contextmanager
def reading(path: Path, what: str, hint: str, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Read a file with somebody else's reader; what that raises becomes an `unreadable-model`."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch._export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with quiet():
            yield
    except (*_BROKEN, *also) as error:
        raise CompileError(
            "unreadable-model", f"{path} cannot be read as {what}", why=first_lines(error), hint=hint
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
