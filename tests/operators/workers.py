"""Cases in child processes that live on from case to case, and are replaced when a runtime crashes or hangs."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue

from outcome import CRASHED, HUNG, Outcome

Run = Callable[[str, Path], Outcome]

# Forked: what the suites have loaded need not be loaded again after a crash. The parent never touches a runtime.
_CONTEXT = multiprocessing.get_context("fork")
_LIVES = 200  # cases after which a process is replaced: some runtimes never give memory back


def outcomes(names: list[str], run: Run, *, jobs: int, timeout: float) -> Iterator[tuple[str, Outcome]]:
    """Each case with its outcome, as they come."""
    todo: SimpleQueue[str] = SimpleQueue()
    done: SimpleQueue[tuple[str, Outcome]] = SimpleQueue()
    for name in names:
        todo.put(name)
    workers = [_Worker(run, timeout) for _ in range(jobs)]
    threads = [threading.Thread(target=worker.work, args=(todo, done), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    for _ in names:
        yield done.get()
    for thread in threads:
        thread.join()


class _Worker:
    def __init__(self, run: Run, timeout: float) -> None:
        self._run = run
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._run), daemon=True)
        self._process.start()
        theirs.close()
        self._served = 0

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def work(self, todo: SimpleQueue[str], done: SimpleQueue[tuple[str, Outcome]]) -> None:
        while True:
            try:
                name = todo.get_nowait()
            except Empty:
                self._stop()
                return
            outcome = self._ask(name)
            self._served += 1
            if outcome.kind in (CRASHED, HUNG) or self._served == _LIVES:
                self._stop()
                self._start()
            done.put((name, outcome))

    def _ask(self, name: str) -> Outcome:
        try:
            self._pipe.send(name)
            if not self._pipe.poll(self._timeout):
                return Outcome(HUNG, f"no answer within {self._timeout:.0f} s")
            answer: Outcome = self._pipe.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self._process.join()
            return Outcome(CRASHED, f"the process ended with {self._process.exitcode}")
        return answer


def _serve(pipe: Connection, run: Run) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            os._exit(0)
        with tempfile.TemporaryDirectory(prefix="case-") as folder:
            pipe.send(run(name, Path(folder)))
