"""A session that is opened again after its runtime has ended: a probe may kill or hang it, and others come after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from compiler.contracts import Array, Arrays, Bounded, Session
from compiler.errors import CompileError

_ENDED = ("runtime-crashed", "timeout")


class Reopening:
    """Opened at once; after a call that ended the runtime, opened again by the next one."""

    def __init__(self, opened: Callable[[], Session]) -> None:
        self._opened = opened
        self._session: Session | None = opened()
        self.effective: Mapping[str, Any] = self._session.effective

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return self.within(None, inputs)

    def within(self, seconds: float | None, inputs: Arrays) -> dict[str, Array]:
        if self._session is None:
            self._session = self._opened()
        try:
            if isinstance(self._session, Bounded):
                return self._session.within(seconds, inputs)
            return self._session(inputs)
        except CompileError as error:
            if error.code in _ENDED:
                self._session = None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._session.__exit__(kind, error, trace)
