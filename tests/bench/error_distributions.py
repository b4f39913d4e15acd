"""How far honest runtimes are off, and dishonest ones: the table in docs/parity.md.

    .venv/bin/python tests/bench/error_distributions.py            measure what is not measured yet, and print the table
    .venv/bin/python tests/bench/error_distributions.py --write    and put it into docs/parity.md

Each model of the small zoo on each runtime as plumbline builds it; and for contrast OpenVINO computing in bfloat16, and
ONNX Runtime with every weight rounded to float16. One line of build/error_distributions.jsonl is one cell, so that an
interrupted run goes on where it was; remove the file to measure anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from backends.isolated import IsolatedBackend  # noqa: E402
from compiler import driver  # noqa: E402
from compiler.contracts import SilentProgress  # noqa: E402
from compiler.errors import PlumblineError  # noqa: E402
from compiler.frontend.program import Request  # noqa: E402
from compiler.job import Job  # noqa: E402
from compiler.validate.judge import judge  # noqa: E402
from compiler.verdicts import Verdict  # noqa: E402
from models.table import factory, models  # noqa: E402

FOUND = ROOT / "build" / "error_distributions.jsonl"
PAGE = ROOT / "docs" / "parity.md"
_LARGEST = float(np.finfo(np.float16).max)
START, END = "<!-- distributions -->", "<!-- /distributions -->"

BFLOAT16, FLOAT16_WEIGHTS = "OpenVINO, bfloat16 inside", "ONNX Runtime, weights through float16"
HONEST = {"onnx": "onnx", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tvm": "TVM"}
DISHONEST = (BFLOAT16, FLOAT16_WEIGHTS)


@dataclass(frozen=True)
class Cell:
    """The worst output of one model in one setting: errors in units, and shares of the budget."""

    model: str
    setting: str
    rms: float
    shares: Mapping[str, float]
    failed: bool


def measured(name: str, effort: str, seed: int) -> Iterator[Cell]:
    targets = [target for target in (*models()[name]["targets"], "onnx") if target in HONEST]
    source = str(ROOT / factory(name, "small"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        jobs = [Job(Request(source), target, folder / target, effort=effort, seed=seed) for target in targets]
        front = stack.enter_context(driver.opened(jobs[0], SilentProgress()))
        for job in jobs:
            job.place.mkdir()
            try:
                with IsolatedBackend(job.target, repro=folder / "repro") as backend:
                    yield from _on_one(name, job, front, backend, last=job is jobs[-1])
            except PlumblineError as error:
                print(f"{name} on {job.target}: {error.code}: {error.why}", file=sys.stderr)


def _on_one(name: str, job: Job, front: driver.Front, backend: IsolatedBackend, *, last: bool) -> Iterator[Cell]:
    outcome = driver.finish(job, front, backend, job.place, SilentProgress(), last=last)
    yield _cell(name, HONEST[job.target], outcome.verdict)
    assert outcome.reference is not None
    reference = replace(outcome.reference, edges=())
    if job.target == "openvino":
        with backend.open(outcome.artifact, job.place, {"INFERENCE_PRECISION_HINT": "bf16"}) as session:
            yield _cell(name, BFLOAT16, judge(reference, session, job.terms))
    if job.target == "onnxruntime":
        _round_weights(job.place / outcome.artifact.files[0])
        with backend.open(outcome.artifact, job.place, {}) as session:
            yield _cell(name, FLOAT16_WEIGHTS, judge(reference, session, job.terms))


def _round_weights(graph: Path) -> None:
    import onnx_ir as ir

    model = ir.load(graph)
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype is ir.DataType.FLOAT:
            # Masks hold the lowest float32, which is no matter of rounding.
            rounded = value.const_value.numpy().clip(-_LARGEST, _LARGEST).astype(np.float16).astype(np.float32)
            value.const_value = ir.tensor(rounded, name=value.name)
    ir.save(model, graph)


def _cell(name: str, setting: str, verdict: Verdict) -> Cell:
    floats = [output for output in verdict.outputs if output.shares]
    shares = {key: max(output.shares.get(key, 0.0) for output in floats) for key in ("element", "row", "whole")}
    return Cell(name, setting, max(output.rms for output in floats), shares, not verdict.passed)


# -- the table --------------------------------------------------------------------------------------------------


def table(cells: list[Cell]) -> str:
    lines = [
        "| | models | all elements, in units | worst row, of its budget | worst element, of its budget | failed |",
        "|---|---|---|---|---|---|",
    ]
    for setting in (*HONEST.values(), *DISHONEST):
        of = [cell for cell in cells if cell.setting == setting]
        if of:
            together = _spread([cell.rms for cell in of])
            rows, elements = (_spread([100 * cell.shares.get(key, 0.0) for cell in of]) for key in ("row", "element"))
            failed = sum(cell.failed for cell in of)
            lines.append(f"| {setting} | {len(of)} | {together} | {rows} % | {elements} % | {failed} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.2g} ({max(values):,.2g})".replace("e+0", "e")


def known() -> list[Cell]:
    lines = FOUND.read_text(encoding="utf-8").splitlines() if FOUND.is_file() else []
    return [Cell(**json.loads(line)) for line in lines]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the table into docs/parity.md")
    options: Any = parser.parse_args(argv)
    done = {cell.model for cell in known()}
    FOUND.parent.mkdir(exist_ok=True)
    for name in models():
        if name in done or (options.only and name not in options.only):
            continue
        cells = list(measured(name, options.effort, options.seed))
        with FOUND.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(cell)) + "\n" for cell in cells)
        for cell in cells:
            shares = ", ".join(f"{key} {share:.1%}" for key, share in cell.shares.items())
            print(f"{name:16} {cell.setting:38} {cell.rms:10.3g} units rms; {shares}", flush=True)
    text = table(known())
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(START, 1)
        PAGE.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
