"""Something to be timed, in a process of its own: thread pools that share a process disturb each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.child import Child
from compiler.contracts import Closing
from compiler.errors import CompileError, PlumblineError
from compiler.measure.served import Start

_GRACE = 10.0  # seconds that a burst under way may take to its end
_MOST = 10_000  # calls in a row


class Contender(Closing):
    """Calls `make(*arguments)` in a child process; it hands back what is to be timed, a callable without arguments.

    `make` is "package.module:name" or "file.py:name". The process runs on `cores` only, where any are given.
    """

    def __init__(
        self,
        name: str,
        make: str,
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        cores: Sequence[int] = (),
    ) -> None:
        self.name = name
        serve, flags = "compiler.measure.served:serve", ("-W", "ignore")
        self._child = Child(serve, tuple(cores), flags=flags, environment=environment)
        try:
            self._ask(make, arguments)
        except PlumblineError:
            self.close()
            raise

    def start(self, seconds: float, most: int = _MOST) -> Start:
        """How it came to life, and its first calls; to be asked before anything else."""
        found: Start = self._ask("start", (seconds, most))
        return found

    def burst(self, seconds: float, most: int = _MOST) -> list[float]:
        """The seconds that each of some calls in a row took: at least three, at most `most`."""
        taken: list[float] = self._ask("burst", (seconds, most))
        return taken

    def rate(self, clients: int, seconds: float) -> float:
        """Calls in a second when so many clients ask at the same time."""
        found: float = self._ask("rate", (clients, seconds))
        return found

    def answer(self) -> Any:
        """What a call gives."""
        return self._ask("answer", ())

    def peak(self) -> int | None:
        """The most memory that its process has had, in bytes."""
        found: int | None = self._ask("peak", ())
        return found

    def _ask(self, request: str, words: tuple[Any, ...]) -> Any:
        try:
            self._child.send((request, words))
            answer = self._child.receive()
        except (EOFError, OSError):
            message = f"{self.name} ended while it was timed"
            raise CompileError("measurement-failed", message, why=self._child.obituary()) from None
        if isinstance(answer, PlumblineError):
            raise answer
        return answer

    def close(self) -> None:
        self._child.end(_GRACE)
