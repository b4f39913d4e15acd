"""Workers side by side, one for each model. Of one that dies, the model has failed; the others go on."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence

from compiler.check import cells
from compiler.check.worker import Report, Task
from compiler.child import Child
from compiler.errors import CompileError

_GRACE = 2.0  # seconds


def run(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Report]]:
    """In the order in which they are done."""
    ahead: queue.SimpleQueue[Task] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Task, Report]] = queue.SimpleQueue()
    for task in tasks:
        ahead.put(task)
    crew = [_Member(ahead, done, jobs) for _ in range(min(jobs, len(tasks)))]
    for member in crew:
        member.start()
    try:
        for _ in tasks:
            yield done.get()
    finally:
        for member in crew:
            member.stop()
        for member in crew:
            member.wait()


class _Member(threading.Thread):
    """One thread, with one worker at a time."""

    def __init__(self, ahead: queue.SimpleQueue[Task], done: queue.SimpleQueue[tuple[Task, Report]], jobs: int) -> None:
        super().__init__(daemon=True)
        self._ahead = ahead
        self._done = done
        self._jobs = jobs
        self._worker: Child | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                task = self._ahead.get_nowait()
            except queue.Empty:
                return
            self._worker = _worker(self._jobs)
            try:
                self._worker.send(task)
                report = self._worker.receive()
            except (EOFError, OSError):
                if self._stopped.is_set():
                    return
                report = _lost(task, self._worker.obituary())
            self._worker.end(_GRACE)
            self._done.put((task, report))

    def stop(self) -> None:
        """No further model; what is under way is interrupted."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.interrupt()

    def wait(self) -> None:
        if self._worker is not None:
            self._worker.end(_GRACE)


def _worker(jobs: int) -> Child:
    environment = {}
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:  # cores are shared out, unless the user has done so
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    return Child("compiler.check.worker:main", environment=environment)


def _lost(task: Task, how: str) -> Report:
    error = CompileError(
        "check-crashed",
        f"the process that compiled '{task.entry.name}' ended before it was done",
        why=how,
        hint="compile it alone, with --debug",
    )
    return Report(dict.fromkeys(task.targets, cells.failed(error)), {})
