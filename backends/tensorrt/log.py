"""What TensorRT says goes to a logger that we hand it; errors are kept for our own messages."""

from __future__ import annotations

import re
from typing import Any

# "[graphShapeAnalyzer.cpp::analyzeShapes::2084] Error Code 4: Miscellaneous (...)": where in its source says nothing.
_SOURCE = re.compile(r"^(?:\[[\w.]+(?:::[\w~<>]+)*::\d+\] |[\w.]+:\d+: )")


def logger(trt: Any) -> Any:
    """An ILogger with its errors, in order, in `errors`."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(_SOURCE.sub("", text).strip())

    return Log()
