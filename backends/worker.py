"""The child process in which backends build and run. It answers requests on a pipe until the pipe closes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from compiler.child import listening
from compiler.errors import CompileError, PlumblineError

LOGGER = "plumbline"  # the log that backends may write to
NOTE = "note"  # the kind of an answer that others follow


class Served:
    """What a request may ask for. Sessions stay here; the parent holds their numbers."""

    def __init__(self) -> None:
        self._sessions: dict[int, Any] = {}

    def prepare(self, target: str) -> None:
        """Import the runtime ahead of its use."""
        from backends import registry

        registry.get(target).probe()

    def build(self, target: str, *args: Any) -> Any:
        from backends import registry

        return registry.get(target).build(*args)

    def open(self, target: str, artifact: Any, folder: Any, options: Any) -> tuple[int, Any]:
        from backends import registry
        from backends.checked import CheckedSession

        session = CheckedSession(registry.get(target).open(artifact, folder, options), artifact.signature)
        number = len(self._sessions)
        self._sessions[number] = session
        return number, dict(session.effective)

    def run(self, session: int, inputs: Any) -> Any:
        return self._sessions[session](inputs)

    def close(self, session: int) -> None:
        self._sessions.pop(session).close()


class _Telling(logging.Handler):
    """What a backend logs while it works goes to whoever waits for the answer."""

    def __init__(self, answers: Connection) -> None:
        super().__init__(logging.INFO)
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        self._answers.send((NOTE, record.getMessage()))


def limit_memory(limit: int | None) -> None:
    """A ceiling on what this process may allocate; mapped files do not count. Linux only."""
    if limit is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(requests_fd: int, answers_fd: int, memory_limit: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when an interrupt ends us
    limit_memory(memory_limit)
    served = Served()
    requests, answers = listening(requests_fd, answers_fd)
    log = logging.getLogger(LOGGER)
    log.setLevel(logging.INFO)
    log.addHandler(_Telling(answers))
    with requests, answers, contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            method, args = requests.recv()
            answers.send(_answer(getattr(served, method), args))
    sys.stdout.flush()
    # Some runtimes crash in their own shutdown; everything was answered, so there is nothing left to run.
    os._exit(0)


# How runtimes, loaders of shared libraries and C++ itself say that an allocation failed.
NO_MEMORY = re.compile(r"Cannot allocate memory|failed to map segment|bad_alloc|bad allocation|out of memory", re.I)


def out_of_memory(why: str) -> CompileError:
    hint = "--memory-limit SIZE gives it more, where there is more"
    return CompileError("out-of-memory", "there is not enough memory", why=why or None, hint=hint)


def _answer(method: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "ok", method(*args)
    except PlumblineError as error:
        return "error", error
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything; it is told, with its trace, in the parent
        if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
            return "error", out_of_memory(str(error))
        return "raised", (type(error).__name__, str(error), traceback.format_exc())
