"""Where did a dim that was declared dynamic become a constant?

torch.export says that it happened; the line of Python that made it so is on the stack at the moment when the
shape environment fixes the symbol, so that is where we listen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from torch.fx.experimental.symbolic_shapes import ShapeEnv

from compiler.errors import CompileError
from compiler.frontend.user_code import current_user_line, first_lines


@dataclass
class Watch:
    """Lines of user code that fixed a symbol or branched on it, in order."""

    lines: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        line = current_user_line()
        if line is not None:
            self.lines.append(f"{line}  [{what}]")


@contextmanager
def watch_shapes() -> Iterator[Watch]:
    watch = Watch()
    fix, guard = ShapeEnv._set_replacement, ShapeEnv._log_guard

    def set_replacement(env: ShapeEnv, symbol: Any, value: Any, *rest: Any, **named: Any) -> Any:
        if value.is_number:
            watch.note(f"fixes it to {value}")
        return fix(env, symbol, value, *rest, **named)

    def log_guard(env: ShapeEnv, prefix: str, expression: Any, *rest: Any, **named: Any) -> Any:
        if prefix.startswith("eval"):
            watch.note(f"decides on {re.sub(r's[0-9]+', 'size', str(expression))}")
        return guard(env, prefix, expression, *rest, **named)

    with (
        mock.patch.object(ShapeEnv, "_set_replacement", set_replacement),
        mock.patch.object(ShapeEnv, "_log_guard", log_guard),
    ):
        yield watch


def specialized(error: BaseException, watch: Watch) -> CompileError:
    """The error for a dim that did not stay dynamic."""
    text = str(error)
    dims = re.findall(r"Constraints violated \(([^)]*)\)", text)
    reasons = [line.strip(" -") for line in text.splitlines() if line.strip().startswith("- ")]
    fixes = text.partition("Suggested fixes:")[2].split("\n\n")[0].split("\n")
    suggestion = ", ".join(filter(None, map(_as_range, fixes)))
    return CompileError(
        "dim-specialized",
        f"the dim {', '.join(map(_public, dims)) or 'of an input'} does not stay dynamic over its whole range",
        where=watch.lines[0] if watch.lines else None,
        why=(reasons[0].split(" If you're using")[0] if reasons else first_lines(error)).rstrip("."),
        hint=f"give --input the range that holds ({suggestion}), or change that line"
        if suggestion
        else _left_out(reasons),
    )


def _left_out(reasons: list[str]) -> str | None:
    """A single size that torch treats as another case, as it does where a view at that size changes nothing."""
    sizes = {size for reason in reasons for size in re.findall(r"\] != ([1-9]\d*)", reason)}
    if not sizes:
        return None
    return (
        f"give --input a range without {', '.join(sorted(sizes))}, or change that line: torch asks this of "
        "x.reshape(...) and x.view(...), and not of x.flatten().reshape(...)"
    )


def _public(dim: str) -> str:
    """Without the number and the underscore under which a dim in steps is known to torch."""
    return dim.rpartition("*")[2].strip().removeprefix("_")


def _as_range(fix: str) -> str | None:
    """torch's "batch = Dim('batch', min=5, max=16)" as it is written for --input."""
    name, _, value = (part.strip() for part in fix.partition("="))
    if not name or name.startswith("_"):
        return None
    bounds = dict(re.findall(r"(min|max)=(\d+)", value))
    if not bounds:
        return f"{name}={value}" if value.isdigit() else None
    return f"{name}={bounds.get('min', '1')}..{bounds.get('max', 'N')}"
