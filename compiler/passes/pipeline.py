"""Which passes run, in which order, and what is checked after each."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import onnx_ir as ir

from compiler.contracts import PassRecord, Signature
from compiler.errors import CompileError, InternalError, PlumblineError
from compiler.ir.store import weight_bytes
from compiler.ir.verify import signature_of, verify
from compiler.passes.rewriting import graphs

BOUND = 5  # how often a group may run until it settles


@dataclass(frozen=True)
class Step:
    """One entry of the pipeline: the name a user sees, where the pass is, and why it stands where it stands.

    Neighbours with the same `group` run again and again until none of them changes anything. An optional step runs
    when it is asked for.
    """

    name: str
    where: str
    reason: str
    group: str = ""
    optional: bool = False

    def make(self) -> ir.passes.PassBase:
        return cast(ir.passes.PassBase, getattr(self._module(), self.where.partition(":")[2])())

    def summary(self) -> str:
        """The first sentence of the pass's file."""
        return " ".join((self._module().__doc__ or "").strip().partition("\n\n")[0].split())

    def _module(self) -> Any:
        return importlib.import_module(self.where.partition(":")[0])


def _step(name: str, reason: str, group: str = "", *, optional: bool = False) -> Step:
    """A pass whose name, file and class agree."""
    file, kind = name.replace("-", "_"), "".join(word.capitalize() for word in name.split("-"))
    return Step(name, f"compiler.passes.{file}:{kind}", reason, group, optional)


def _tidy(group: str) -> tuple[Step, ...]:
    """What makes room for itself: it settles after two or three rounds."""
    return (
        _step("remove-identities", "before all that looks for a producer", group),
        _step("fold-transposed-weights", "before fold-constants, which would copy the weight", group),
        _step("fold-sliced-weights", "before fold-constants, which looks at one slice at a time", group),
        _step("collapse-casts", "before fold-constants, which forgets whether a CastLike saturates", group),
        _step("fold-constants", "after every constant is an initializer", group),
        _step("lift-constants", "again: what was folded are Constant nodes", group),
        _step("remove-dead-code", "again: what fold-constants leaves behind still uses what others would fold", group),
        _step("name-sizes", "before fold-shapes, which reckons with the names", group),
        _step("fold-shapes", "before the chains: it says which Reshape takes a constant", group),
        _step("remove-no-ops", "after fold-shapes, which makes targets constant", group),
        _step("remove-expands", "after fold-shapes, while the Expand is still there", group),
        _step("collapse-transposes", "chains: after no-ops, which would stand between two links", group),
        _step("collapse-reshapes", "chains", group),
        _step("collapse-slices", "chains", group),
        _step("collapse-concats", "chains", group),
        _step("keep-reduced-dims", "after the chains, which leave one Squeeze or Unsqueeze", group),
        _step("unflatten-gathers", "after the chains, which leave one Reshape", group),
        _step("merge-duplicate-weights", "after all that makes constants", group),
        _step("merge-common-subexpressions", "last: the others make nodes equal", group),
    )


# In the order in which they run.
DEFAULT: tuple[Step, ...] = (
    _step("lift-constants", "first: later passes look at initializers only"),
    _step("raise-opset", "before all that asks which operators there are"),
    _step("infer-shapes", "early: many passes ask for a shape"),
    _step("remove-dead-code", "before merging: dead weights cost time"),
    _step("merge-duplicate-weights", "before any folding, which must know who shares a weight"),
    *_tidy("tidy"),
    _step("infer-shapes", "again: what has become constant gives more shapes away, and fusions ask for them"),
    _step("fuse-layer-normalization", "fusions: after the tidying, which leaves one spelling of many things"),
    _step("fuse-rms-normalization", "after fuse-layer-normalization, whose second half looks like it"),
    _step("fuse-group-normalization", "after the tidying"),
    _step("fuse-attention", "after the tidying, which finds the sizes that must agree"),
    _step("fuse-repeated-heads", "after fuse-attention"),
    _step("fuse-key-value-cache", "after fuse-repeated-heads, which looks for a cache without repetitions"),
    _step("fuse-rotary-embedding", "after the tidying; its angles lose their second half"),
    _step("infer-shapes", "again: the fusions that follow ask for what they made"),
    _step("fuse-gelu", "before the algebra, which would move its factors into weights"),
    _step("fuse-swish", "as above"),
    _step("fuse-hard-swish", "as above"),
    _step("fuse-mish", "as above"),
    _step("fold-pads", "after the fusions, like all that changes weights", "algebra"),
    _step("fold-bias-adds", "before fold-scales: a Gemm takes a shift, a MatMul does not", "algebra"),
    _step("merge-affine", "before fold-scales: fewer foldings of a weight", "algebra"),
    _step("fold-batch-norms", "before fold-scales, which may follow it", "algebra"),
    _step("fold-scales", "after the norms", "algebra"),
    _step("move-transposes", "after the tidying, which took the obvious ones", "algebra"),
    _step("join-transposes", "after move-transposes, which takes those that are not joined", "algebra"),
    _step("move-reshapes", "after the tidying, which took the obvious ones", "algebra"),
    *_tidy("algebra"),
    _step("infer-shapes", "again: what the algebra made has sizes as well, which make room for more of it", "algebra"),
    _step("name-sizes", "with the names that others have for them", "algebra"),
    Step("sweep", "compiler.passes.remove_dead_code:RemoveDeadCode", "what the others left behind"),
    _step("simplify", "last: it is taken only where it finds something that the others did not", optional=True),
)


class Watch(Protocol):
    """Whoever wants to see the graph between the passes."""

    def before(self, name: str, model: ir.Model) -> None: ...

    def after(self, record: PassRecord, model: ir.Model) -> None: ...


Named = tuple[str, ir.passes.PassBase]


def run(model: ir.Model, steps: Sequence[Step] | None = None, **settings: Any) -> list[PassRecord]:
    """Run the steps in place. After each, the structure holds and the signature is what it was."""
    runner = Runner(model, **settings)
    for group in _groups(default() if steps is None else steps):
        runner.settle(group[0].group, [(step.name, step.make()) for step in group])
    return runner.records


def run_passes(model: ir.Model, passes: Iterable[Named], **settings: Any) -> list[PassRecord]:
    runner = Runner(model, **settings)
    runner.settle("", passes)
    return runner.records


def default() -> tuple[Step, ...]:
    return tuple(step for step in DEFAULT if not step.optional)


def _groups(steps: Sequence[Step]) -> list[list[Step]]:
    groups: list[list[Step]] = []
    for step in steps:
        if step.group and groups and groups[-1][0].group == step.group:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


class Runner:
    """Runs passes over one model and holds each to what it promised.

    `repro` is where the input of a pass that fails is saved; it is made again from a copy of what came in.
    """

    def __init__(self, model: ir.Model, *, watches: Sequence[Watch] = (), repro: Path | None = None) -> None:
        self.records: list[PassRecord] = []
        self._model = model
        self._watches = watches
        self._repro = repro
        self._start = model.clone() if repro is not None else None
        if self._start is not None:
            self._start.meta.update(model.meta)
        self._done: list[Named] = []
        self._measured = _Measured.of(model)

    def settle(self, group: str, passes: Iterable[Named]) -> None:
        """Once through; a named group again and again until nothing changes."""
        passes = list(passes)
        self.records += [self.one(name, instance) for name, instance in passes]
        changed = any(record.modified for record in self.records[len(self.records) - len(passes) :])
        rounds = 1
        while group and changed and rounds < BOUND:
            again = [record for record in [self.one(name, instance) for name, instance in passes] if record.modified]
            self.records += again  # a second row of a pass is there only if the pass found something again
            changed = bool(again)
            rounds += 1
        if group and changed:
            note = f"the group {group} still changed something after {BOUND} rounds"
            last = self.records[-1]
            self.records[-1] = replace(last, declined=(*last.declined, note))

    def one(self, name: str, instance: ir.passes.PassBase) -> PassRecord:
        for watch in self._watches:
            watch.before(name, self._model)
        try:
            record, self._measured = _run_one(self._model, name, instance, self._measured)
            for watch in self._watches:
                watch.after(record, self._model)
        except PlumblineError as error:
            if error.code.startswith("pass-"):
                error.repro = error.repro or self._save_input()
            raise
        self._done.append((name, instance))
        return record

    def _save_input(self) -> str | None:
        """What the failing pass was given: the same passes on the same start give the same graph."""
        if self._start is None or self._repro is None:
            return None
        from compiler.ir.store import save

        measured = _Measured.of(self._start)
        for name, instance in self._done:
            _, measured = _run_one(self._start, name, instance, measured)
        self._repro.mkdir(parents=True, exist_ok=True)
        path = self._repro / "pass-input.onnx"
        save(self._start, path)
        return str(path)


@dataclass(frozen=True)
class _Measured:
    """What is counted of a graph; it is counted again only after a pass that changed something."""

    signature: Signature
    operators: Counter[str]
    size: int

    @staticmethod
    def of(model: ir.Model) -> _Measured:
        operators = Counter(node.op_type for graph in graphs(model) for node in graph)
        return _Measured(signature_of(model), operators, weight_bytes(model))


def _run_one(
    model: ir.Model, name: str, instance: ir.passes.PassBase, before: _Measured
) -> tuple[PassRecord, _Measured]:
    started = time.perf_counter()
    try:
        result = instance(model)
    except ir.passes.PassError as error:
        cause = error.__cause__
        if isinstance(cause, PlumblineError):
            raise cause from error
        raise CompileError("pass-failed", f"the pass {name} failed", why=str(cause or error)) from error
    except PlumblineError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        hint = f"--passes default,-{name}"
        raise InternalError("pass-crashed", f"the pass {name} failed", why=why, hint=hint) from error
    if result.model is not model:
        raise InternalError("pass-broke-promise", f"the pass {name} handed back another model")
    seconds = time.perf_counter() - started
    if result.modified:
        _hold_structure(name, model)
    after = _Measured.of(model) if result.modified else before
    _hold_signature(name, before.signature, after.signature if result.modified else signature_of(model))
    declined: tuple[str, ...] = getattr(instance, "take_declined", tuple)()
    kinds = sorted({*before.operators, *after.operators})
    change = {kind: after.operators[kind] - before.operators[kind] for kind in kinds}
    record = PassRecord(
        name,
        bool(result.modified),
        before.operators.total(),
        after.operators.total(),
        before.size,
        after.size,
        round(seconds, 4),
        declined,
        {kind: count for kind, count in change.items() if count},
    )
    return record, after


def _hold_structure(name: str, model: ir.Model) -> None:
    try:
        verify(model)
    except InternalError as error:
        message = f"the pass {name} broke the graph"
        raise InternalError("pass-broke-promise", message, where=error.where, why=error.why) from error


def _hold_signature(name: str, before: Signature, after: Signature) -> None:
    if before != after:
        changed = [f"{old} became {new}" for old, new in _pairs(before, after) if old != new]
        raise InternalError("pass-broke-promise", f"the pass {name} changed the signature", why="; ".join(changed))


def _pairs(before: Signature, after: Signature) -> list[tuple[Any, Any]]:
    old, new = [*before.inputs, *before.outputs], [*after.inputs, *after.outputs]
    if len(old) != len(new):
        return [(f"{len(old)} inputs and outputs", f"{len(new)}")]
    return list(zip(old, new, strict=True))
