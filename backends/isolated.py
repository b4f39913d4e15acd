"""A backend in a child process: native compilers crash and hang, and that must never take the user's terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backends import registry, replay
from backends.worker import NO_MEMORY, NOTE, out_of_memory
from compiler.child import Child
from compiler.contracts import (
    Array,
    Arrays,
    Artifact,
    Backend,
    Closing,
    Legality,
    Probe,
    Progress,
    Session,
    Signature,
    SilentProgress,
)
from compiler.errors import CompileError, PlumblineError

DEFAULT_TIMEOUT = 1800.0


class IsolatedBackend(Closing):
    """The same Backend, but `build` and `open` happen in one child process that this object owns.

    The child is started at once and imports the runtime while the parent is still capturing the model.
    """

    def __init__(
        self,
        name: str,
        *,
        repro: Path,
        timeout: float = DEFAULT_TIMEOUT,
        memory_limit: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.name = name
        self._progress = progress or SilentProgress()
        self._backend: Backend = registry.get(name)
        self._repro = repro
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._start()

    def _start(self) -> None:
        self._child = Child("backends.worker:main", self._memory_limit)
        self._pending = 0
        self._post("prepare", self.name)

    # -- what needs no runtime ----------------------------------------------------------------------------------

    def probe(self) -> Probe:
        return self._backend.probe()

    @property
    def legality(self) -> Legality:
        return self._backend.legality

    def options(self) -> Mapping[str, str]:
        return self._backend.options()

    def passes(self) -> Sequence[Any]:
        return self._backend.passes()

    # -- what happens in the child ------------------------------------------------------------------------------

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        self._revive()
        request = replay.Request(self.name, "build", options, signature, graph=graph)
        artifact: Artifact = self.ask(request, "build", self.name, graph, signature, dict(options), out)
        return artifact

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        self._revive()
        request = replay.Request(self.name, "open", options, artifact.signature, artifact=artifact, folder=folder)
        number, effective = self.ask(request, "open", self.name, artifact, folder, dict(options))
        return _RemoteSession(self, number, effective, request)

    def _revive(self) -> None:
        """What an earlier request has ended is started again."""
        if self._child.exit_code is not None:
            self.close()
            self._start()

    def ask(self, request: replay.Request | None, method: str, *args: Any, seconds: float | None = None) -> Any:
        """One request and its answer; whatever goes wrong leaves a folder that shows it again."""
        limit = self._timeout if seconds is None else min(seconds, self._timeout)
        deadline = time.monotonic() + limit
        try:
            self._post(method, *args)
            while self._pending:
                if not self._child.answers_within(max(deadline - time.monotonic(), 0)):
                    raise self._hung(request, limit)
                kind, value = self._child.receive()
                if kind == NOTE:
                    self._progress.note(value)
                else:
                    self._pending -= 1
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise self._crashed(request, method) from None
        if kind == "ok":
            return value
        if kind == "error":
            assert isinstance(value, PlumblineError)
            if isinstance(value, CompileError):
                value.repro = value.repro or self._leave(request, self._child.said())
            raise value
        name, text, trace = value
        raise CompileError(
            "runtime-raised",
            f"{self.name} failed to {method}",
            why=f"{name}: {text.strip()}",
            repro=self._leave(request, trace),
        )

    def _post(self, method: str, *args: Any) -> None:
        self._child.send((method, args))
        self._pending += 1

    def _hung(self, request: replay.Request | None, limit: float) -> CompileError:
        self._child.kill()
        return CompileError(
            "timeout",
            f"{self.name} did not answer within {limit:g} s and was stopped",
            hint="--timeout SECONDS gives it more time",
            repro=self._leave(request, self._child.said()),
        )

    def _crashed(self, request: replay.Request | None, method: str) -> CompileError:
        last, said = self._child.obituary(), self._child.said()
        if self._memory_limit is not None and NO_MEMORY.search(last):
            error = out_of_memory(last)
            error.repro = self._leave(request, said)
            return error
        return CompileError(
            "runtime-crashed",
            f"{self.name} crashed in {method}",
            why=last,
            hint="report the folder below to the runtime's project; another --target may take the model",
            repro=self._leave(request, said),
        )

    def _leave(self, request: replay.Request | None, said: str) -> str | None:
        return None if request is None else str(replay.write(self._repro, request, said, self._memory_limit))

    def close(self) -> None:
        """End the child: by its own when it is idle, by force when it is not."""
        self._child.end(0.5 if self._pending == 0 else 0)


class _RemoteSession:
    def __init__(
        self, backend: IsolatedBackend, number: int, effective: Mapping[str, Any], request: replay.Request
    ) -> None:
        self._backend = backend
        self._number = number
        self._effective = effective
        self._request = request

    @property
    def effective(self) -> Mapping[str, Any]:
        return self._effective

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return self.within(None, inputs)

    def within(self, seconds: float | None, inputs: Arrays) -> dict[str, Array]:
        request = self._request.with_inputs(inputs)
        answer: dict[str, Array] = self._backend.ask(request, "run", self._number, dict(inputs), seconds=seconds)
        return answer

    def close(self) -> None:
        self._backend.ask(None, "close", self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
