"""Bisection is judged: faults at random places, and whether they are found there. `make bisect-trials N=200 SEED=0`."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "passes"))

import numpy as np
import onnx_ir as ir
from planted import FAULTS, NameNodes, Plant, SpoilingStep, Target, can_be_spoiled, spoiled
from random_graphs import random_graph

from compiler.cases import Case, Reference
from compiler.contracts import Arrays, Dim, Inside
from compiler.diagnose.diagnosis import Diagnosis
from compiler.errors import PlumblineError
from compiler.passes.infer_shapes import InferShapes

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("exporter", "pass", "kernel", "operator", "fusion")
ZOO = ("dlrm", "minilm", "moe", "vit")
_LARGEST = 4  # nodes that an answer may consist of
_DRAWN_AGAIN = 40


@dataclass(frozen=True)
class Outcome:
    seed: int
    kind: str
    source: str
    planted: str
    right: bool
    told: str


@dataclass(frozen=True)
class Material:
    """A right graph with data; `inside` is PyTorch where it came from there."""

    name: str
    model: ir.Model
    draws: Sequence[Arrays]
    dims: dict[str, Dim]
    inside: Inside | None = None
    reference: Reference | None = None


def trial(seed: int, folder: Path, *, zoo: bool = True) -> Outcome:
    """One fault that shows; where one does not, another is planted."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    for _ in range(_DRAWN_AGAIN):
        material = (
            _of_zoo(str(rng.choice(ZOO))) if zoo and rng.random() < 0.15 else _random(int(rng.integers(2**31)), folder)
        )
        if material is None:
            continue
        found = _plant(kind, material, rng)
        if found is None:
            continue
        plant, name = found
        diagnosis = plant.diagnose(folder)
        if diagnosis is not None:
            right = _is_right(kind, name, diagnosis)
            told = f"{diagnosis.stage}: {diagnosis.sentence} {[place.name for place in diagnosis.nodes]}"
            return Outcome(seed, kind, material.name, name, right, told)
    raise AssertionError(f"no fault of {seed} shows")


def _random(seed: int, folder: Path) -> Material | None:
    """None for a graph that is not the same to the judge after the passes: that is another test's business."""
    proto, draws = random_graph(seed)
    model = ir.from_proto(proto)
    InferShapes()(model)  # as the graphs have it that come from an exporter
    NameNodes()(model)
    dims = {name: Dim(name, 1, 16) for name in ("n", "m")}
    material = Material(f"random {seed}", model, draws, dims)
    try:
        clean = Plant(model, draws, dims=dims).diagnose(folder) is None
    except PlumblineError:
        return None
    return material if clean else None


@functools.cache
def _of_zoo(name: str) -> Material:
    import runpy

    from compiler.frontend.open import open_program
    from compiler.frontend.prepare import trace
    from compiler.frontend.program import Request
    from compiler.passes.watches import two_sizes

    table: dict[str, Any] = runpy.run_path(str(ROOT / "models" / "table.py"))
    program = open_program(Request(str(ROOT / table["factory"](name, "small"))))
    plan = trace(program, (), None, seed=0, effort="quick")
    model = program.capture(24)
    draws = [plan.inputs(sizes, number) for number, sizes in enumerate(two_sizes(plan.dims))]
    answers = [[program.run(draw, precise=precise) for precise in (False, True)] for draw in draws]
    cases = (
        Case(f"draw {number}", {}, draw, *answer)
        for number, (draw, answer) in enumerate(zip(draws, answers, strict=True))
    )
    reference = Reference(tuple(cases), "PyTorch", 0)
    return Material(name, model, draws, dict(plan.dims), program.inside(), reference)


def _plant(kind: str, material: Material, rng: np.random.Generator) -> tuple[Plant, str] | None:
    """A fault at a random place, and what its place is called; None where the graph has no such place."""
    plant = Plant(
        material.model,
        material.draws,
        dims=material.dims,
        inside=material.inside,
        reference=material.reference,
    )
    fault = str(rng.choice(FAULTS))
    if kind == "exporter":
        captured = material.model.clone()
        node = _any(captured, rng)
        if node is None:
            return None
        name = str(node.outputs[0].name)
        spoiled(node, fault, under_its_name=True)
        return replace(plant, captured=captured), name
    if kind == "pass":
        step = SpoilingStep("planted-pass", "", "", spoil=_once(fault, int(rng.integers(2**31))))
        place = int(rng.integers(len(plant.steps) + 1))
        return replace(plant, steps=[*plant.steps[:place], step, *plant.steps[place:]]), "planted-pass"
    lowered, _ = plant.route().walk()
    node = _any(lowered, rng)
    if node is None:
        return None
    if kind == "operator":
        return replace(plant, target=Target(_every(node.op_type, fault))), node.op_type
    if kind == "kernel":
        return replace(plant, target=Target(_named(str(node.name), fault))), str(node.name)
    users = [use.node for use in node.outputs[0].uses() if use.node.graph is lowered.graph]
    if not users:
        return None
    return replace(plant, target=Target(_fused(str(node.name), str(users[0].name), fault))), str(node.name)


def _any(model: ir.Model, rng: np.random.Generator) -> ir.Node | None:
    nodes = [node for node in model.graph if can_be_spoiled(node)]
    return nodes[int(rng.integers(len(nodes)))] if nodes else None


def _once(fault: str, seed: int) -> Any:
    def spoil(model: ir.Model) -> bool:
        NameNodes()(model)
        node = _any(model, np.random.default_rng(seed))
        if node is not None:
            spoiled(node, fault)
        return node is not None

    return spoil


def _every(operator: str, fault: str) -> Any:
    """A kernel that is wrong wherever it is used."""
    return _where(lambda node: node.op_type == operator, fault)


def _named(name: str, fault: str) -> Any:
    return _where(lambda node: node.name == name, fault)


def _fused(name: str, follower: str, fault: str) -> Any:
    """Wrong only while the two are in one graph, next to each other."""
    return _where(
        lambda node: node.name == name and any(use.node.name == follower for use in node.outputs[0].uses()), fault
    )


def _where(holds: Any, fault: str) -> Any:
    def spoil(model: ir.Model) -> bool:
        chosen = [node for node in model.graph if holds(node) and can_be_spoiled(node)]
        for node in chosen:
            spoiled(node, fault)
        return bool(chosen)

    return spoil


def _is_right(kind: str, planted: str, diagnosis: Diagnosis) -> bool:
    names = [place.name for place in diagnosis.nodes]
    few = 0 < len(names) <= _LARGEST
    if kind == "exporter":
        # How many nodes it takes is the exporter's business: it writes one operation of PyTorch with several.
        return diagnosis.stage == "exporter" and diagnosis.output == planted
    if kind == "pass":
        spoils = any(name.endswith("_spoiled") for name in names)
        return diagnosis.stage == "pass" and diagnosis.culprit == f"the pass {planted}" and spoils and few
    if kind == "operator":
        return diagnosis.stage == "runtime" and planted in [place.operator for place in diagnosis.nodes] and few
    return diagnosis.stage == "runtime" and planted in names and few


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    right, all_of, started = Counter[str](), Counter[str](), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seed, options.seed + options.n):
            outcome = trial(seed, Path(folder))
            all_of[outcome.kind] += 1
            right[outcome.kind] += outcome.right
            if not outcome.right:
                where = f"{outcome.kind} {outcome.planted} in {outcome.source}"
                print(f"seed {seed}: {where} -> {outcome.told}", flush=True)
    for kind in KINDS:
        print(f"  {kind:<10} {right[kind]} of {all_of[kind]}")
    share = right.total() / all_of.total()
    seconds = time.perf_counter() - started
    print(f"{right.total()} of {all_of.total()} attributed rightly ({share:.1%}) in {seconds:.0f} s")
    sys.exit(0 if share >= 0.95 else 1)


if __name__ == "__main__":
    main()
