"""The small zoo as the judge meets it: each model's optimized graph, and PyTorch's answers, made once and kept."""

from __future__ import annotations

import pickle
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compiler import driver
from compiler.cases import Case, Reference
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.reference import compute
from compiler.graph_files import GRAPH
from compiler.ir.store import save

ROOT = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "models" / "table.py"))
MODELS: dict[str, dict[str, Any]] = TABLE["models"]()
HOME = ROOT / "build" / "judging"

_ELEMENTS = 300_000  # of a case: what is larger would make each of hundreds of runs slow


@dataclass(frozen=True)
class Kept:
    """A model on which faults are planted."""

    name: str
    folder: Path
    cases: tuple[Case, ...]

    def graph(self) -> ir.Model:
        """To change as one likes."""
        model = ir.load(self.folder / GRAPH)
        ir.external_data.load_to_model(model)
        return model


def kept(name: str, home: Path = HOME) -> Kept:
    folder = home / name
    if not (folder / "cases.pickle").exists():
        _make(name, folder)
    cases: tuple[Case, ...] = pickle.loads((folder / "cases.pickle").read_bytes())
    return Kept(name, folder, cases)


def _make(name: str, folder: Path) -> None:
    sys.stdout.write(f"{name}: captured, with PyTorch's answers\n")
    sys.stdout.flush()
    folder.mkdir(parents=True, exist_ok=True)
    program = open_program(Request(str(ROOT / TABLE["factory"](name, "small"))))
    plan = trace(program, (), None, seed=0, effort="quick")
    reference = compute(program, plan, "PyTorch, eager")
    captured = driver.capture(program, plan)
    driver.optimize(captured)
    save(captured.model, folder / GRAPH, keep_provenance=False)
    partial = folder / "cases.partial"
    partial.write_bytes(pickle.dumps(_quick(reference)))
    partial.rename(folder / "cases.pickle")


def _quick(reference: Reference) -> tuple[Case, ...]:
    """All cases but the very large ones; at least two."""

    def size(case: Case) -> int:
        return sum(array.size for array in (*case.inputs.values(), *case.outputs.values()))

    ranked = sorted(reference.cases, key=size)
    chosen = {id(case) for place, case in enumerate(ranked) if place < 2 or size(case) <= _ELEMENTS}
    return tuple(case for case in reference.cases if id(case) in chosen)
