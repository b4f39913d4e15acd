"""Third-party chatter that a user can do nothing about."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# They warn about packages that are not there and choices that are theirs to make, and what they log as an error is
# raised as well.
_LOGGERS = ("torch", "onnxscript", "onnx_ir", "transformers")


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
