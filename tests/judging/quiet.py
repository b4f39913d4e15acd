"""Honest runtimes must never be refused: the zoo on every target that runs here, twenty draws of data on one build.

`make quiet-zoo`, and SIZE=full for the large models. Each draw is judged as a compile would judge it, by itself. What
was found is kept model by model, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operators"))

from outcome import PASSED, WRONG, Outcome
from workers import outcomes
from zoo_graphs import HOME, MODELS, ROOT, TABLE

from backends import registry
from backends.checked import CheckedSession
from compiler import driver
from compiler.cases import Case, Otherwise, Reference
from compiler.contracts import Captured, Session
from compiler.frontend import sizes
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Program, Request
from compiler.frontend.reference import ReferencePlan, branch
from compiler.validate.judge import judge_either_way
from compiler.verdicts import Terms

TARGETS = ("onnxruntime", "openvino", "tvm")
DRAWS = 20
_TIMEOUT = 3600.0


@dataclass(frozen=True)
class Cell:
    """One model on one target: how much of the budget each draw has used, and what was said where it was too much."""

    model: str
    target: str
    used: tuple[float, ...]
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class Listened(Outcome):
    cells: tuple[Cell, ...] = ()


def listen(draws: int, size: str, targets: tuple[str, ...], name: str, folder: Path) -> Listened:
    """One model on its targets."""
    program = open_program(Request(str(ROOT / TABLE["factory"](name, size))))
    plan = trace(program, (), None, seed=1, effort="quick")
    references = [_reference(program, plan, draw) for draw in range(draws)]
    captured = driver.capture(program, plan)
    driver.optimize(captured)
    cells = []
    for target in targets:
        if target in MODELS[name]["targets"]:
            place = folder / target
            place.mkdir()
            cells.append(_on_target(name, captured, references, partial(branch, program), target, place))
    alarms = sum(len(cell.alarms) for cell in cells)
    return Listened(WRONG if alarms else PASSED, f"{alarms} alarms", tuple(cells))


def _reference(program: Program, plan: ReferencePlan, draw: int) -> Reference:
    """One draw at the low end and at the middle of every dim, as the quick effort takes it."""
    places = [sizes.middle(plan.dims), sizes.ends(plan.dims, "lo")] if plan.dims else [{}, {}]
    cases = []
    for number, place in enumerate(places):
        inputs = plan.inputs(place, 2 * draw + number)
        found = program.answers(inputs)
        name = f"draw {draw} at {sizes.label(place)}"
        cases.append(Case(name, place, inputs, found.outputs, found.oracle, close=found.close))
    return Reference(tuple(cases), "PyTorch, eager", plan.seed)


def _on_target(
    name: str, captured: Captured, references: list[Reference], otherwise: Otherwise, target: str, folder: Path
) -> Cell:
    model = captured.model.clone()
    model.meta.update(captured.model.meta)
    backend = registry.get(target)
    _, graph, _ = driver.lower(replace(captured, model=model), backend, folder, keep_provenance=False)
    artifact = backend.build(graph, captured.signature, {}, folder)
    with CheckedSession(backend.open(artifact, folder, {}), captured.signature) as session:
        return _heard(name, target, references, otherwise, session)


def _heard(name: str, target: str, references: list[Reference], otherwise: Otherwise, session: Session) -> Cell:
    used, alarms = [], []
    for reference in references:
        _, verdict = judge_either_way(reference, session, Terms(), otherwise)
        used.append(max((output.used for output in verdict.outputs), default=0.0))
        alarms += [f"{output.case}: {output.output}: {output.why}" for output in verdict.outputs if not output.passed]
    return Cell(name, target, tuple(used), tuple(alarms))


def recorded(log: Path) -> list[Cell]:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [Cell(**json.loads(line)) for line in lines if line.endswith("\n")]


def table(cells: list[Cell]) -> Iterator[str]:
    yield "| model | target | draws | alarms | of the budget, at most | on average |"
    yield "|---|---|---|---|---|---|"
    for cell in cells:
        most, mean = max(cell.used), sum(cell.used) / len(cell.used)
        yield f"| {cell.model} | {cell.target} | {len(cell.used)} | {len(cell.alarms)} | {most:.0%} | {mean:.0%} |"
    yield f"{len(cells)} cells, {sum(len(cell.used) for cell in cells)} verdicts: "
    yield f"{sum(len(cell.alarms) for cell in cells)} false alarms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--log", type=Path)
    parser.add_argument("--again", action="store_true", help="forget what an earlier run has found")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    log = options.log or HOME / f"quiet-{options.size}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    known = [] if options.again else recorded(log)
    left = [name for name in options.models if name not in {cell.model for cell in known}]
    failed = 0
    with log.open("w" if options.again else "a") as file:
        run = partial(listen, options.draws, options.size, tuple(options.targets.split(",")))
        for name, outcome in outcomes(left, run, jobs=1, timeout=_TIMEOUT):
            if not isinstance(outcome, Listened):
                print(f"{name}: {outcome.kind}: {outcome.why}", flush=True)
                failed += 1
                continue
            for cell in outcome.cells:
                known.append(cell)
                file.write(json.dumps(asdict(cell)) + "\n")
                for alarm in cell.alarms:
                    print(f"{cell.model}, {cell.target}: {alarm}", flush=True)
            file.flush()
    print("\n".join(table([cell for cell in known if cell.model in options.models])))
    return 1 if failed or any(cell.alarms for cell in known) else 0


if __name__ == "__main__":
    raise SystemExit(main())
