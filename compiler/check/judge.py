"""Is a cell as good as it was? What differs from the lock, and whether that is a failure.

Noise must not cry wolf, and a regression inside the budget must not hide. Two numbers of each output are compared, the
worst element and all elements together; each may grow by a factor that honest noise was never seen to reach, and below
a floor nobody cares: there the artifact is as exact as PyTorch itself. docs/ci.md derives both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from compiler.check.cells import Cell, Failure, Figures, Measured, Numbers
from compiler.check.lock import Locked
from compiler.check.manifest import Entry
from compiler.errors import Exit, worst
from compiler.report import words

USED_FACTOR, USED_FLOOR = 3.0, 0.25
RMS_FACTOR, RMS_FLOOR = 2.0, 1.0
PROMISE_FACTOR, PROMISE_FLOOR = 2.0, 0.1  # of how far off a contract allows it to be
GROWTH = 1.1  # of the artifact's size, above which it is mentioned

_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """Something to say about a cell. One without an exit code is a remark; every other fails the check."""

    kind: str
    message: str
    exit_code: Exit = Exit.OK

    @property
    def fails(self) -> bool:
        return self.exit_code is not Exit.OK


@dataclass(frozen=True)
class Judged:
    cell: Cell
    measured: Measured | None  # None for what only the lock knows
    locked: Figures | None
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        return any(finding.fails for finding in self.findings)


def exit_code(judged: Iterable[Judged]) -> Exit:
    return worst(finding.exit_code for one in judged for finding in one.findings)


def judge(entry: Entry, target: str, measured: Measured, locked: Locked) -> Judged:
    cell = Cell(entry.name, target)
    before = locked.get(cell)
    return Judged(cell, measured, before, tuple(_findings(entry, target, measured, before)))


def gone(entries: Iterable[Entry], locked: Locked) -> list[Judged]:
    """Cells of the lock that the manifest no longer has."""
    known = {Cell(entry.name, target) for entry in entries for target in entry.targets}
    why = "the lock has it, and the manifest does not; --update takes it out"
    return [
        Judged(cell, None, locked[cell], (Finding("gone", why, Exit.DIFFERS),))
        for cell in sorted(locked.keys() - known)
    ]


def acceptable(judged: Judged) -> bool:
    """Whether `--update` may write it down: what is out of its budget, or did not run, is never made the rule."""
    if judged.measured is not None and (judged.measured.figures is None or judged.measured.why):
        return False
    return all(finding.kind in _AGAINST_THE_LOCK or not finding.fails for finding in judged.findings)


_AGAINST_THE_LOCK = frozenset(
    {
        "not-in-lock",
        "worse",
        "fusion-vanished",
        "precision-changed",
        "gone",
        "output-gone",
        "edge-differs",
        "contract-changed",
    }
)


def _findings(entry: Entry, target: str, measured: Measured, before: Figures | None) -> Iterator[Finding]:
    failure = measured.failure
    if failure is not None and failure.exit_code is Exit.UNAVAILABLE:
        yield Finding("skipped", _in_full(failure), Exit.DIFFERS)
        return
    if target in entry.known_failures:
        yield _known(entry.known_failures[target], measured)
        return
    if failure is not None:
        yield Finding(failure.code, _in_full(failure), failure.exit_code)
        return
    now = measured.figures
    assert now is not None
    alone = [*_in_itself(entry, target, measured, now)]
    yield from alone
    if before is not None:
        yield from _compared(measured, now, before)
    elif not any(finding.fails for finding in alone):
        yield Finding("not-in-lock", "the lock does not have it; --update adds it", Exit.DIFFERS)


def _in_itself(entry: Entry, target: str, measured: Measured, now: Figures) -> Iterator[Finding]:
    """What is wrong whatever the lock says; no update makes it right."""
    for output, why in measured.why.items():
        yield Finding("numbers-differ", f"'{output}' fails: {why}", Exit.DIFFERS)
    if not now.ran:
        yield _not_run(entry, target)
    for operator, count in sorted(entry.expect.items()):
        found = measured.operators.get(operator, 0)
        if found != count:
            text = f"the manifest expects {count} {operator}, and there are {found}{_reasons(operator, measured)}"
            yield Finding("expectation", text, Exit.DIFFERS)


def _known(reason: str, measured: Measured) -> Finding:
    if measured.failure is not None or measured.why:
        return Finding("known-failure", f"it fails, as the manifest says: {reason}")
    text = f"it works, and the manifest says that it fails ({reason}); take that out of known_failures"
    return Finding("no-failure", text, Exit.DIFFERS)


def _in_full(failure: Failure) -> str:
    return "; ".join([failure.message, *(f"{label}: {text}" for label, text in failure.details)])


def _not_run(entry: Entry, target: str) -> Finding:
    if target in entry.may_only_be_built:
        return Finding("built-not-run", "built, not run; the manifest allows it")
    hint = f'may_only_be_built = ["{target}"] in the manifest allows it'
    return Finding("built-not-run", f"built, but it cannot run here; {hint}", Exit.DIFFERS)


# -- against the lock -------------------------------------------------------------------------------------------


def _compared(measured: Measured, now: Figures, before: Figures) -> Iterator[Finding]:
    since = _since(now.versions, before.versions)
    for name, numbers in now.outputs.items():
        if name not in before.outputs:
            yield Finding("not-in-lock", f"the lock does not have the output '{name}'", Exit.DIFFERS)
        elif name not in measured.why and now.ran == before.ran:
            yield from _numbers(name, numbers, before.outputs[name], measured.slack.get(name, 1.0), since)
    if now.ran == before.ran and not measured.why:
        yield from _promises(now.promises, before.promises, since)
        for name in now.fidelity.keys() & before.fidelity.keys():
            yield from _numbers(name, now.fidelity[name], before.fidelity[name], 1.0, since, " against its own graph")
    for name in sorted(before.outputs.keys() - now.outputs.keys()):
        yield Finding("output-gone", f"the output '{name}' of the lock is gone", Exit.DIFFERS)
    if now.ran == before.ran and not measured.why:  # numbers that differ do so under a probe as well
        yield from _edges(now.edges, before.edges, since)
    if now.precision != before.precision:
        text = f"it computes in {now.precision}, and in {before.precision} before{since}"
        yield Finding("precision-changed", text, Exit.DIFFERS)
    if before.ran and not now.ran:
        yield Finding("built-not-run", "when the lock was written it ran; its numbers are not those of a graph")
    if now.ran and not before.ran:
        yield Finding("runs-now", "it runs here, and the lock knows the graph alone; --update puts in its own numbers")
    for operator, count in sorted(before.fusions.items()):
        found = now.fusions.get(operator, 0)
        if found < count:
            text = f"{count - found} of {count} {operator} are gone{since}{_reasons(operator, measured)}"
            yield Finding("fusion-vanished", text, Exit.DIFFERS)
    if now.bytes > GROWTH * before.bytes:
        yield Finding("larger", f"it has grown from {words.size(before.bytes)} to {words.size(now.bytes)}{since}")


def _edges(now: Mapping[str, str], before: Mapping[str, str], since: str) -> Iterator[Finding]:
    for name, how in now.items():
        if before.get(name) != how:
            was = f", {before[name]} before" if name in before else ", as PyTorch does before"
            yield Finding("edge-differs", f"{name}: {how}{was}{since}", Exit.DIFFERS)
    for name in sorted(before.keys() - now.keys()):
        yield Finding("better", f"{name}: as PyTorch does, {before[name]} before; --update holds it to that")


def _promises(now: Mapping[str, float], before: Mapping[str, float], since: str) -> Iterator[Finding]:
    for name in sorted({*now, *before}):
        if name not in now or name not in before:
            text = f"the contract {'no longer says' if name in before else 'now says'} {name}; --update takes it over"
            yield Finding("contract-changed", text, Exit.DIFFERS)
        elif share(name, now[name]) > limit(share(name, before[name]), PROMISE_FACTOR, PROMISE_FLOOR):
            text = f"it keeps {name} with {now[name]:.6g} at worst, {before[name]:.6g} before{since}"
            yield Finding("worse", text, Exit.DIFFERS)
        elif share(name, before[name]) > limit(share(name, now[name]), PROMISE_FACTOR, PROMISE_FLOOR):
            text = (
                f"it keeps {name} with {now[name]:.6g} at worst, {before[name]:.6g} before; --update holds it to that"
            )
            yield Finding("better", text)


_BOUND = re.compile(r".*?(?P<sign>[<>])=\s*(?P<bound>[-+.0-9eE]+)\s*")


def share(clause: str, worst: float) -> float:
    """How far off, in parts of what the clause allows; what has no bound is kept or not, and has no parts."""
    found = _BOUND.fullmatch(clause)
    if found is None:
        return 0.0
    bound = float(found["bound"])
    if found["sign"] == "<":
        return worst / bound if bound > 0 else 0.0
    if bound < 1:
        return (1 - worst) / (1 - bound)
    return bound / worst if worst > 0 else 0.0


def _numbers(
    name: str, now: Numbers, before: Numbers, slack: float, since: str, against: str = ""
) -> Iterator[Finding]:
    grown = []
    if now.used > limit(before.used, USED_FACTOR, USED_FLOOR):
        was = words.percent(before.used)
        grown.append(f"its worst element uses {words.percent(now.used)} of the budget, {was} before")
    if now.rms > limit(before.rms, RMS_FACTOR, RMS_FLOOR) * slack:
        grown.append(f"all elements together are off by {now.rms:.2g} units, {before.rms:.2g} before")
    if grown:
        yield Finding("worse", f"'{name}' got worse{against}: {'; '.join(grown)}{since}", Exit.DIFFERS)
    elif (
        before.used > limit(now.used, USED_FACTOR, USED_FLOOR)
        or before.rms > limit(now.rms, RMS_FACTOR, RMS_FLOOR) * slack
    ):
        told = f"{words.percent(before.used)} of its budget before, {words.percent(now.used)} now"
        yield Finding("better", f"'{name}' got better{against}: {told}; --update holds it to that")


def limit(before: float, factor: float, floor: float) -> float:
    return max(factor * before, floor)


def _since(now: Mapping[str, str], before: Mapping[str, str]) -> str:
    """What else is different now, in words: most often that is the reason."""
    changed = [
        f"{name} {before.get(name, 'none')} → {now.get(name, 'none')}"
        for name in sorted({*now, *before})
        if now.get(name) != before.get(name)
    ]
    return f" (since then: {', '.join(changed)})" if changed else ""


def _reasons(operator: str, measured: Measured) -> str:
    """What the fusion that makes this operator says of the places that it left alone."""
    said = [
        reason
        for name, reasons in measured.declined.items()
        if operator.lower() in name.removeprefix("fuse-").replace("-", "")
        for reason in reasons
    ]
    return "".join(f"\n    {reason}" for reason in said[:_SHOWN])
