"""A process of our own, with a pipe in each direction. What it prints is kept, for when it ends before it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[1])
_LAST_LINES = 3


class Child:
    """Runs `function` ("package.module:name") as function(requests, answers, *arguments); the first two are numbers of
    open files, for `listening`."""

    def __init__(
        self,
        function: str,
        *arguments: object,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        module, _, name = function.partition(":")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        to_child, requests = os.pipe()
        answers, from_child = os.pipe()
        call = ", ".join(map(repr, (to_child, from_child, *arguments)))
        code = f"import sys; sys.path.append({_ROOT!r}); from {module} import {name}; {name}({call})"
        # -P keeps the current folder out of the child's path: it may hold packages of our names.
        self._process = subprocess.Popen(
            [sys.executable, "-P", *flags, "-c", code],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            env={**os.environ, **(environment or {})},
        )
        os.close(to_child)
        os.close(from_child)
        self._requests = Connection(requests, readable=False)
        self._answers = Connection(answers, writable=False)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def send(self, request: object) -> None:
        """Raises OSError once the child has ended."""
        self._requests.send(request)

    def receive(self) -> Any:
        """Raises EOFError or OSError when the child ends instead of answering."""
        return self._answers.recv()

    def answers_within(self, seconds: float) -> bool:
        return self._answers.poll(seconds)

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def obituary(self) -> str:
        """How it ended, and the last that it said."""
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = [line for line in self.said().splitlines() if line.strip()]
        return " / ".join([how, *lines[-_LAST_LINES:]])

    def interrupt(self) -> None:
        """As from the keyboard: on which it ends what it has started itself."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self, grace: float) -> None:
        """It hears that nothing more will be asked; one that has not ended after `grace` seconds is killed."""
        self._requests.close()
        try:
            self._process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self.kill()
        self._answers.close()
        self._said.close()


def listening(requests: int, answers: int) -> tuple[Connection, Connection]:
    """The child's ends of the pipes."""
    return Connection(requests, writable=False), Connection(answers, readable=False)
