"""Which steps run: `default`, `default,-fuse-attention`, `default,simplify`, or a list of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compiler.errors import UsageError, did_you_mean
from compiler.passes import pipeline

ALL = "default"
NONE = "none"


@dataclass(frozen=True)
class Choice:
    """The names asked for, and those that must not run, wherever they stand."""

    named: frozenset[str]
    without: frozenset[str]

    @property
    def whole(self) -> bool:
        return ALL in self.named

    def steps(self) -> tuple[pipeline.Step, ...]:
        return tuple(step for step in pipeline.DEFAULT if self.runs(step.name, optional=step.optional))

    def runs(self, name: str, *, optional: bool = False) -> bool:
        if name in self.without:
            return False
        return name in self.named or (self.whole and not optional)


def parse(text: str, *, simplify: bool = False) -> Choice:
    """What the user wrote. With nothing but names to leave out, the rest is the default.

    `simplify` makes that optional pass a part of the default.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    without = {word[1:].strip() for word in words if word.startswith("-")}
    named = {word for word in words if not word.startswith("-")}
    named = named or {ALL}
    if simplify and ALL in named:
        named.add("simplify")
    return Choice(frozenset(named), frozenset(without))


def check(text: str, others: Iterable[str]) -> None:
    """Refuse names that nothing has. `others` are the names of the targets' own passes."""
    choice = parse(text)
    steps = {step.name for step in pipeline.DEFAULT}
    own = set(others)
    for names, known in ((choice.named, {ALL, NONE} | steps), (choice.without, steps | own)):
        for name in sorted(names - known):
            hint = did_you_mean(name, known) or "`compile passes` lists them"
            raise UsageError("unknown-pass", f"there is no pass '{name}'", hint=hint)


def name_of(instance: ir.passes.PassBase) -> str:
    """The name of a target's own pass: FuseThis is fuse-this."""
    name = type(instance).__name__
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def chosen(passes: Sequence[ir.passes.PassBase], choice: Choice) -> list[pipeline.Named]:
    """A target's own passes; they run unless they are taken out, because the target may need them."""
    named = [(name_of(instance), instance) for instance in passes]
    return [(name, instance) for name, instance in named if name not in choice.without]
