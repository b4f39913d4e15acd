"""Run a function beside the main work, in a forked child that shares the weights' memory.

Exporting keeps one core busy with Python; the reference answers can be had on the other one meanwhile. The child
computes single-threaded, because an OpenMP pool does not survive a fork. Where there is no fork, or one core
only, the function simply runs when its result is asked for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, Self, TypeVar

from compiler.errors import CompileError, InternalError, PlumblineError

T = TypeVar("T")


class Aside(Generic[T]):
    """A value under way; leaving the context without asking for it ends the child."""

    def __init__(self, work: Callable[[], T], *, fork: bool) -> None:
        self._work: Callable[[], T] | None = work
        self._process: multiprocessing.process.BaseProcess | None = None
        self._outcome: T | BaseException | None = None
        if fork and sys.platform == "linux" and (os.cpu_count() or 1) > 1:
            context = multiprocessing.get_context("fork")
            self._receiver, sender = context.Pipe(duplex=False)
            self._process = context.Process(target=_child, args=(work, sender), daemon=True)
            # An interrupt in the first moments of the child would be told by whoever has something to do at a fork.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with warnings.catch_warnings():
                    # Python warns that other threads' locks are copied as they are; the child takes none of them.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            sender.close()
            self._work = None  # whatever it holds on to, the child has its own

    def ready(self, wait: float) -> bool:
        """Whether the result is there, or will be within `wait` seconds."""
        return self._process is not None and (self._outcome is not None or self._receiver.poll(wait))

    def result(self) -> T:
        """The value, or what went wrong instead; the same however often it is asked for."""
        if self._process is None:
            assert self._work is not None
            return self._work()
        if self._outcome is None:
            self._outcome = self._received(self._process)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _received(self, process: multiprocessing.process.BaseProcess) -> T | BaseException:
        try:
            outcome: T | BaseException = self._receiver.recv()
        except EOFError:
            process.join()
            return CompileError(
                "reference-crashed",
                "PyTorch itself crashed while computing the reference outputs",
                why=f"its process ended with exit code {process.exitcode}",
                hint="--no-verify compiles without a reference; --effort normal computes it in this process",
            )
        process.join()
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join()


def _child(work: Callable[[], T], sender: Connection) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when an interrupt ends us
    torch.set_num_threads(1)
    value: object
    try:
        value = work()
    except PlumblineError as error:
        value = error
    except MemoryError:
        value = CompileError("out-of-memory", "there is not enough memory to compute the reference outputs")
    except Exception as error:  # noqa: BLE001 - it cannot be raised across a process, so it is told
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}:{last.lineno}"
        value = InternalError(
            "internal", "this is a bug of plumbline", where=where, why=f"{type(error).__name__}: {error}"
        )
    with contextlib.suppress(BrokenPipeError):
        sender.send(value)
