"""Third-party chatter that a user can do nothing about."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

# They warn about packages that are not there and choices that are theirs to make, and what they log as an error is
# raised as well.
_LOGGERS = ("torch", "onnxscript", "onnx_ir", "transformers", "matplotlib")


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no log lines."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def noted_on_failure() -> Iterator[None]:
    """What is printed on the way to an error becomes a note of it: torch prints hundreds of lines of its graph."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except BaseException as error:
        error.add_note(said.getvalue())
        raise
    sys.stderr.write(said.getvalue())
