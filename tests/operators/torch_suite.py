"""torch's own samples of each operator on one target. `capture_samples.py` makes the graphs, once for all targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
from capture_samples import CAPTURED, HOME, NOT_CAPTURED, states
from outcome import BUILT, PASSED, WRONG, Outcome, of_error
from samples import not_counted, operators

from backends.checked import CheckedSession
from compiler import driver
from compiler.cases import Case
from compiler.contracts import Arrays, Backend, Captured, Ready, Source
from compiler.graph_files import GRAPH
from compiler.ir.verify import signature_of
from compiler.validate import stored
from compiler.validate.compare import compare

NAME = "torch"


def cases() -> list[str]:
    """Every sample that the frontend captures, as "operator#number"."""
    return [
        f"{name}#{number}"
        for name, found in states().items()
        for number, (state, _) in enumerate(found)
        if state == CAPTURED
    ]


def is_whole() -> bool:
    """Whether every operator that counts has been captured."""
    return {name for name in operators() if not not_counted(name)} <= states().keys()


def operator(name: str) -> str:
    return name.rpartition("#")[0]


def excluded() -> Mapping[str, int]:
    """Operators that are not counted at all, and samples that never reach a target, with the reason."""
    counts = Counter(f"{why} (operators)" for name in operators() if (why := not_counted(name)))
    for found in states().values():
        for state, why in found:
            if state != CAPTURED:
                counts[f"{'not captured by the frontend' if state == NOT_CAPTURED else why} (samples)"] += 1
    return counts


def run(name: str, backend: Backend, folder: Path) -> Outcome:
    """Lower, build, open, run and hold the answer against PyTorch's, as the driver does with a model."""
    place, stage = HOME / operator(name) / name.rpartition("#")[2], "lower"
    try:
        (read,) = stored.read(place, _never)
        model = ir.load(place / GRAPH)
        captured = Captured(model, signature_of(model), Source(str(place), "op_db", ""))
        driver.optimize(captured)
        _, graph, _ = driver.lower(captured, backend, folder, keep_provenance=False)
        stage = "build"
        artifact = backend.build(graph, captured.signature, {}, folder)
        state = backend.probe()
        if isinstance(state, Ready) and not state.runs:
            return Outcome(BUILT)
        stage = "open"
        with CheckedSession(backend.open(artifact, folder, {}), captured.signature) as session:
            stage = "run"
            return _judged(read.case, read.thin(session(read.case.inputs)))
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is the result
        return of_error(error, stage, folder)


def _never(sizes: Mapping[str, int], draw: int, kind: str) -> Arrays:
    raise AssertionError("the inputs are stored")


def _judged(case: Case, answer: Arrays) -> Outcome:
    verdict = compare([case], [answer])
    wrong = [output for output in verdict.outputs if not output.passed]
    return Outcome(WRONG, f"{wrong[0].output}: {wrong[0].why}") if wrong else Outcome(PASSED)
