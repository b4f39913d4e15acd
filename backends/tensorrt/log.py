"""What TensorRT says goes to a logger that we hand it; errors are kept for our own messages."""

from __future__ import annotations

import re
from collections import deque
from functools import cache
from typing import Any

# "[graphShapeAnalyzer.cpp::analyzeShapes::2084] Error Code 4: Miscellaneous (...)": where in its source says nothing.
_SOURCE = re.compile(r"^(?:\[[\w.]+(?:::[\w~<>]+)*::\d+\] |[\w.]+:\d+: )")
_KEPT = 100


@cache
def logger(trt: Any) -> Any:
    """The one ILogger of this process: TensorRT goes on with the first that it was given, whatever comes later."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._errors: deque[str] = deque(maxlen=_KEPT)

        def log(self, severity: Any, text: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self._errors.append(_SOURCE.sub("", text).strip())

        def take(self) -> list[str]:
            """The errors since the last time, each once."""
            taken = list(dict.fromkeys(self._errors))
            self._errors.clear()
            return taken

    return Log()
