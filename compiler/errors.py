"""Everything that can go wrong, in one voice: what, where, why, what to try."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """The exit code of the command; a command over many models returns the worst."""

    OK = 0
    COMPILE = 1
    USAGE = 2
    DIFFERS = 3
    UNAVAILABLE = 4
    BUG = 70
    INTERRUPTED = 130


_WORST_FIRST = (Exit.INTERRUPTED, Exit.BUG, Exit.DIFFERS, Exit.COMPILE, Exit.USAGE, Exit.UNAVAILABLE, Exit.OK)


def worst(codes: Iterable[Exit]) -> Exit:
    """The one exit code of a command that did several things."""
    return min(codes, key=_WORST_FIRST.index, default=Exit.OK)


class PlumblineError(Exception):
    """An error a user can act on. `code` is a stable slug that docs/errors.md explains."""

    exit_code: Exit = Exit.BUG

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
        repro: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.why = why
        self.hint = hint
        self.repro = repro

    def details(self) -> list[tuple[str, str]]:
        """The labelled lines below the headline, in the order in which they are shown."""
        rows = [("where", self.where), ("why", self.why), ("try", self.hint), ("repro", self.repro)]
        return [(label, text) for label, text in rows if text]

    def to_json(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, "exit_code": int(self.exit_code), **dict(self.details())}

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword-only fields need help with that.
        fields = {"where": self.where, "why": self.why, "hint": self.hint, "repro": self.repro}
        return (_rebuild, (type(self), self.code, self.message, fields))


def _rebuild(kind: type[PlumblineError], code: str, message: str, fields: dict[str, str | None]) -> PlumblineError:
    return kind(code, message, **fields)


class CompileError(PlumblineError):
    """The model could not be read, captured, transformed or built."""

    exit_code = Exit.COMPILE


class UnsupportedError(CompileError):
    """A target does not take the model. `refused` is what it named, `types` what the refused nodes work on."""

    refused: tuple[str, ...] = ()
    types: frozenset[str] = frozenset()


class UsageError(PlumblineError):
    """The request itself makes no sense: an option, a spec, a name."""

    exit_code = Exit.USAGE


class NumbersDifferError(PlumblineError):
    """The artifact computes something else than the model."""

    exit_code = Exit.DIFFERS


class UnavailableError(PlumblineError):
    """The target cannot be built or run on this machine."""

    exit_code = Exit.UNAVAILABLE


class InternalError(PlumblineError):
    """A broken promise between our own parts."""

    exit_code = Exit.BUG


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A suggestion for a mistyped name, or None when nothing is near."""
    import difflib  # only when something was mistyped

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else None
