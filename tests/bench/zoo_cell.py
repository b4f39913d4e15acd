"""One model of the zoo at one choice of sizes: everything that could run it, timed in turns. For bench_zoo.py.

python zoo_cell.py '{"model": "bert", "sizes": {"batch": 8, "seq": 128}, ...}' OUT.json
"""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from zoo_origin import origin  # noqa: E402

from backends import host  # noqa: E402
from compiler import api, record  # noqa: E402
from compiler.bench import work  # noqa: E402
from compiler.bench.peaks import Peaks, peaks  # noqa: E402
from compiler.bench.rows import Table  # noqa: E402
from compiler.bench.run import BASELINES, Plan, bench  # noqa: E402
from compiler.bench.setting import Setting  # noqa: E402
from compiler.bench.subject import Asked, Candidate, Subject, read  # noqa: E402
from compiler.contracts import Dim  # noqa: E402
from compiler.errors import CompileError, PlumblineError, UsageError  # noqa: E402
from compiler.frontend.program import Request  # noqa: E402
from compiler.frontend.specs import parse  # noqa: E402
from compiler.search.choose import choose  # noqa: E402
from compiler.search.objective import Objective  # noqa: E402
from compiler.search.variants import variants  # noqa: E402
from models.table import factory, models  # noqa: E402

AUTO = "auto"
GOAL = Objective("latency")
LONGEST = 900.0  # seconds that a table may take where its calls are slow


class _Told:
    """What it is at, for whoever wonders where an hour went."""

    def stage(self, name: str, detail: str = "") -> None:
        print(f"{time.strftime('%H:%M:%S')} {name} {detail}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self.stage("note", text)


_TOLD = _Told()


@dataclass(frozen=True)
class Cell:
    """What is measured, and how."""

    model: str
    sizes: Mapping[str, int]
    size: str = "full"
    threads: int = 2
    budget: float = 60.0  # seconds of each of its two tables
    targets: Sequence[str] = ("onnxruntime", "openvino", "tvm")

    @property
    def key(self) -> str:
        sizes = "-".join(f"{name}{size}" for name, size in self.sizes.items())
        return "-".join(filter(None, (self.model, self.size, sizes, f"{self.threads}threads")))

    @property
    def specs(self) -> list[str]:
        """The model's inputs at these sizes."""
        tensors = parse(inputs_of(self.model, self.size)).tensors
        return [f"{spec.name}:{spec.dtype}[{','.join(map(str, spec.shape(self.sizes)))}]" for spec in tensors]


def inputs_of(model: str, size: str) -> Sequence[str]:
    entry = models()[model]
    found: Sequence[str] = entry.get("small_inputs", entry["inputs"]) if size == "small" else entry["inputs"]
    return found


def choices(model: str, size: str) -> list[dict[str, int]]:
    """Batch 1 and 8, or what comes nearest; half of what else may vary, and of a transformer also all of it."""
    dims = {dim.name: dim for spec in parse(inputs_of(model, size)).tensors for dim in spec.dynamic}
    batches = [dims["batch"].lo, min(8, dims["batch"].hi)] if "batch" in dims else [0]
    longer = models()[model]["family"] == "transformer"
    found = []
    for whole in (False, True) if longer else (False,):
        for batch in batches:
            rest = {name: dim.hi if whole else _half(dim) for name, dim in dims.items() if name != "batch"}
            sizes = {name: batch if name == "batch" else rest[name] for name in dims}
            found += [sizes] if sizes not in found else []
    return found


def _half(dim: Dim) -> int:
    return max(dim.lo, dim.hi // 2 // dim.step * dim.step)


def measured(cell: Cell) -> dict[str, Any]:
    begun = origin(cell.model)
    with tempfile.TemporaryDirectory() as folder:
        words = {"targets": cell.targets, "output": folder, "name": cell.model, "progress": _TOLD}
        built = api.compile_all(factory(cell.model, cell.size), cell.specs, **words)
        good = {name: one for name, one in built.items() if isinstance(one, api.Result) and one.passed}
        failed = {name: _why(one) for name, one in built.items() if name not in good}
        if not good:
            raise CompileError("no-candidate", f"nothing could be built of {cell.model}", why=str(failed))
        subject = read([one.folder for one in good.values()], Asked(Request(factory(cell.model, cell.size))))
        chosen, candidate = _auto(subject, cell)
        best = peaks(cell.threads)
        whole = replace(subject, candidates={**subject.candidates, AUTO: candidate})
        table = _table(whole, cell, tuple(BASELINES))
        floor = _floor(next(iter(good.values())).folder, best)
    if origin(cell.model) != begun:
        raise UsageError("changed", f"the code was changed while {cell.model} was measured with it")
    return {
        "cell": asdict(cell),
        "origin": begun,
        "date": datetime.date.today().isoformat(),
        "host": host.facts(),
        "versions": record.versions(),
        "peaks": asdict(best),
        "floor": floor,
        "chosen": chosen,
        "failed": failed,
        "table": table.to_json(),
    }


def _why(result: api.Result | PlumblineError) -> str:
    return result.code if isinstance(result, PlumblineError) else "its numbers differ"


def _auto(subject: Subject, cell: Cell) -> tuple[str, Candidate]:
    """What `--target auto` would choose among these bundles, from a measurement of its own."""
    candidates = {
        f"{name} {words}".strip(): Candidate(candidate.bundle, options)
        for name, candidate in subject.candidates.items()
        for words, options in variants(candidate.bundle.artifact.target, GOAL.goal).items()
    }
    table = _table(replace(subject, candidates=candidates), cell, ("eager",))
    name = choose(table.rows, {name: one.options for name, one in candidates.items()}, GOAL).row.name
    return name, candidates[name]


def _table(subject: Subject, cell: Cell, against: tuple[str, ...]) -> Table:
    """A budget that is too short for slow calls becomes a longer one."""
    budget = cell.budget
    while True:
        plan = Plan(against, (1,), budget)
        try:
            (table,) = bench(subject, [Setting(cell.threads, {})], plan, _TOLD)
        except UsageError as error:
            if error.code != "budget-too-short" or budget >= LONGEST:
                raise
            budget = min(2 * budget, LONGEST)
            continue
        return table


def _floor(folder: Path, best: Peaks) -> float | None:
    """Seconds that the products alone take at this machine's best rate."""
    graph = work.read(folder, {})
    if graph is None:
        return None
    flops = sum(graph.flops(node) or 0 for node in graph.nodes)
    return flops / best.products["float32"].rate


def main(words: str, out: str) -> None:
    cell = Cell(**json.loads(words))
    told = measured(cell)
    place = Path(out)
    place.with_suffix(".partial").write_text(json.dumps(told, indent=1), encoding="utf-8")
    place.with_suffix(".partial").rename(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
