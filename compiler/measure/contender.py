"""Something to be timed, in a process of its own: thread pools that share a process disturb each other."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from compiler.child import Child, listening
from compiler.contracts import Closing
from compiler.errors import CompileError

_GRACE = 10.0  # seconds that a burst under way may take to its end


class Contender(Closing):
    """Calls `make(*arguments)` in a child process; it hands back what is to be timed, a callable without arguments.

    `make` is "package.module:name" or "file.py:name".
    """

    def __init__(self, name: str, make: str, *arguments: Any, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._child = Child("compiler.measure.contender:serve", flags=("-W", "ignore"), environment=environment)
        try:
            self._ask((make, arguments))
        except CompileError:
            self.close()
            raise

    def burst(self, seconds: float, most: int = 10_000) -> list[float]:
        """The seconds that each of some calls in a row took: at least three, at most `most`."""
        taken: list[float] = self._ask((seconds, most))
        return taken

    def _ask(self, request: tuple[Any, ...]) -> Any:
        try:
            self._child.send(request)
            return self._child.receive()
        except (EOFError, OSError):
            message = f"{self.name} ended while it was timed"
            raise CompileError("measurement-failed", message, why=self._child.obituary()) from None

    def close(self) -> None:
        self._child.end(_GRACE)


def serve(requests_fd: int, answers_fd: int) -> None:
    requests, answers = listening(requests_fd, answers_fd)
    make, arguments = requests.recv()
    run = _find(make)(*arguments)
    run()
    answers.send(None)
    while True:
        try:
            seconds, most = requests.recv()
        except EOFError:
            break
        answers.send(_timed(run, seconds, most))
    os._exit(0)  # some runtimes crash in their own shutdown, and everything was answered


def _timed(run: Callable[[], object], seconds: float, most: int) -> list[float]:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < most):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return taken


def _find(make: str) -> Callable[..., Callable[[], object]]:
    place, _, name = make.rpartition(":")
    found: Callable[..., Callable[[], object]] = getattr(_module(place), name)
    return found


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location("contender", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
