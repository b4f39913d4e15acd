"""What the user says must be found in the optimized graph: so many nodes of an operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from compiler.contracts import PassRecord
from compiler.errors import CompileError, UsageError

_SHOWN = 5


def parse(texts: Iterable[str]) -> dict[str, int]:
    """`Attention=12` and the like; one text may hold several, with commas between them."""
    found = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        operator, _, count = part.partition("=")
        if not operator.strip() or not count.strip().isdigit():
            raise UsageError("bad-option", f"cannot read '--expect {part}'", hint="--expect Attention=12")
        found[operator.strip()] = int(count)
    return found


def check(model: ir.Model, expected: Mapping[str, int], records: Sequence[PassRecord]) -> None:
    """Raise where the graph holds another number; the fusion that should have made the nodes says why."""
    found = Counter(node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph))
    wrong = {operator: count for operator, count in expected.items() if found[operator] != count}
    if not wrong:
        return
    reasons = list(dict.fromkeys(reason for operator in wrong for reason in _reasons(operator, records)))
    more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
    raise CompileError(
        "expectation-failed",
        "; ".join(f"expected {count} {operator}, found {found[operator]}" for operator, count in wrong.items()),
        why="; ".join([*reasons[:_SHOWN], *more]) or "no place in the graph looks like one that is missing",
        hint="--explain shows what each pass did; --expect with other numbers, if this is right",
    )


def _reasons(operator: str, records: Sequence[PassRecord]) -> Iterable[str]:
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in operator).lstrip("-")
    for record in records:
        if record.name.startswith("fuse-") and words.replace("-", "") in record.name.replace("-", ""):
            yield from record.declined
