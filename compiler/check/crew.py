"""Workers side by side, one for each model. Of one that dies, the model has failed; the others go on."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from compiler.check import cells
from compiler.check.worker import Report, Task
from compiler.errors import CompileError

_ROOT = str(Path(__file__).resolve().parents[2])
_LAST_LINES = 3
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
        self._worker: _Worker | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                task = self._ahead.get_nowait()
            except queue.Empty:
                return
            self._worker = _Worker(self._jobs)
            try:
                report = self._worker.do(task)
            except (EOFError, OSError):
                if self._stopped.is_set():
                    return
                failure = cells.failed(self._worker.obituary(task))
                report = Report(dict.fromkeys(task.targets, failure), {})
            self._worker.wait()
            self._done.put((task, report))

    def stop(self) -> None:
        """No further model; what is under way is interrupted."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.interrupt()

    def wait(self) -> None:
        if self._worker is not None:
            self._worker.wait()


class _Worker:
    def __init__(self, jobs: int) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        to_child, requests = os.pipe()
        answers, from_child = os.pipe()
        code = (
            f"import sys; sys.path.append({_ROOT!r}); from compiler.check.worker import main; "
            f"main({to_child}, {from_child})"
        )
        environment = dict(os.environ)
        if jobs > 1:  # cores are shared out, unless the user has done so
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        # -P keeps the current folder out of the child's path: it may hold a `compiler` of its own.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            env=environment,
        )
        os.close(to_child)
        os.close(from_child)
        self._requests = Connection(requests, readable=False)
        self._answers = Connection(answers, writable=False)

    def do(self, task: Task) -> Report:
        self._requests.send(task)
        report: Report = self._answers.recv()
        return report

    def obituary(self, task: Task) -> CompileError:
        code = self._child.wait()
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return CompileError(
            "check-crashed",
            f"the process that compiled '{task.entry.name}' ended before it was done",
            why=" / ".join([how, *lines[-_LAST_LINES:]]),
            hint="compile it alone, with --debug",
        )

    def interrupt(self) -> None:
        """On which it ends the runtime's process that it may have started."""
        self._child.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Until it has ended; by force if need be."""
        try:
            self._child.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._said.close()
