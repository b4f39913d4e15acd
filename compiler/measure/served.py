"""In the contender's own process: something is made, called, and timed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from compiler.child import listening
from compiler.errors import PlumblineError


@dataclass(frozen=True)
class Start:
    """How something came to life: the seconds until it was there, and those of each of its first calls."""

    load: float
    calls: tuple[float, ...]


def serve(requests_fd: int, answers_fd: int, cores: tuple[int, ...]) -> None:
    if cores:  # before anything is imported that starts threads: they inherit it
        os.sched_setaffinity(0, cores)
    requests, answers = listening(requests_fd, answers_fd)
    make, arguments = requests.recv()
    try:
        served = Served(_find(make), arguments)
    except PlumblineError as error:
        answers.send(error)
        os._exit(0)
    answers.send(None)
    while True:
        try:
            method, words = requests.recv()
        except EOFError:
            break
        answers.send(getattr(served, method)(*words))
    os._exit(0)  # some runtimes crash in their own shutdown, and everything was answered


class Served:
    """What may be asked of a contender."""

    def __init__(self, make: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> None:
        started = time.perf_counter()
        self._run = make(*arguments)
        self._load = time.perf_counter() - started
        self._first = _timed_once(self._run)

    def start(self, seconds: float, most: int) -> Start:
        """To be asked first: the calls until it has found its pace are among these."""
        return Start(self._load, (self._first, *self.burst(seconds, most)))

    def burst(self, seconds: float, most: int) -> list[float]:
        """The seconds that each of some calls in a row took: at least three, at most `most`."""
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while len(taken) < 3 or (time.perf_counter() < end and len(taken) < most):
            taken.append(_timed_once(self._run))
        return taken

    def rate(self, clients: int, seconds: float) -> float:
        """Calls in a second, where each of so many clients asks again as soon as it has its answer."""
        end = time.perf_counter() + seconds
        done = [0] * clients

        def ask(number: int) -> None:
            while time.perf_counter() < end:
                self._run()
                done[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done) / (time.perf_counter() - started)

    def answer(self) -> object:
        """What a call gives, in the form in which its maker wants it looked at."""
        told: Callable[[], object] = getattr(self._run, "answers", self._run)
        return told()

    def peak(self) -> int | None:
        """The most memory that the process has had, in bytes; None where the system does not tell."""
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _timed_once(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


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
