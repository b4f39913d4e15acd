"""How fast the zoo's artifacts are, beside what one would use without plumbline: `make bench-zoo`.

Float32, full size, batch 1 and 8, transformers at two lengths; eager, torch.compile, plain ONNX Runtime and plain
OpenVINO beside plumbline for each target and for `auto`. Each model at each choice of sizes is a cell, measured in a
process of its own and kept below build/bench-zoo with what it comes from: the code, the model, the packages and the
machine. As long as these are the same it is not measured again. A cell of other code is marked on the page, and comes
again once all are there; one of another model, package or machine is not shown. A run goes on where the last one ended,
and stops after SECONDS. What matters most comes first: the ten models that the geometric mean is of. In the end
docs/benchmarks.md is written from all cells, and says which are not there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import bench_page  # noqa: E402
from zoo_cell import Cell, choices  # noqa: E402
from zoo_origin import code, origin  # noqa: E402

from models.table import models  # noqa: E402

_CELL = Path(__file__).with_name("zoo_cell.py")
_LAST_LINES = 3
_BUDGET, _SHORTEST = 60.0, 15.0  # seconds of a table
_TABLES = 60  # of which so many would fit into a run: most of a cell's time goes into what comes before them


def cells(arguments: argparse.Namespace) -> list[Cell]:
    """The first sizes of every model come first, so that an early end still says something of all."""
    wide: dict[str, list[dict[str, int]]] = {name: choices(name, arguments.size) for name in _ranked(models())}
    settings = {"size": arguments.size, "threads": arguments.threads, "budget": arguments.budget}
    targets = arguments.targets.split(",")
    return [
        Cell(name, wide[name][number], **settings, targets=targets)
        for number in range(max(map(len, wide.values())))
        for name in wide
        if number < len(wide[name])
    ]


def _ranked(names: Iterable[str]) -> list[str]:
    """Those that the bound on the mean is about come first."""
    return [*bench_page.GEOMEAN, *(name for name in names if name not in bench_page.GEOMEAN)]


def kept(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """What was measured on this machine, of this model, with these packages; our own code may have been another."""
    file = folder / f"{cell.key}.json"
    if not file.is_file():
        return None
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    now, then = origin(cell.model), told.get("origin", {})
    same = {**now, "code": ""} == {**then, "code": ""} and told["cell"]["targets"] == list(cell.targets)
    return told if same else None


def of_today(told: dict[str, Any] | None) -> bool:
    return told is not None and told["origin"]["code"] == code()


def measure(cell: Cell, folder: Path, seconds: float) -> str:
    """What went wrong, in a line; nothing where a cell was finished."""
    words = json.dumps({**asdict(cell), "targets": list(cell.targets)})
    command = [sys.executable, "-W", "ignore", str(_CELL), words, str(folder / f"{cell.key}.json")]
    try:
        done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        return f"the time was up at: {_last(error.stderr or b'', 1)}; it is begun anew the next time"
    return "" if done.returncode == 0 else _last(done.stderr, _LAST_LINES)


def _last(said: bytes, lines: int) -> str:
    return " / ".join(said.decode(errors="replace").strip().splitlines()[-lines:])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(models()))
    parser.add_argument("--targets", default="onnxruntime,openvino,tvm")
    parser.add_argument("--size", choices=["full", "small"], default="full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, help="seconds of each table (default: 60, less in a short run)")
    parser.add_argument("--seconds", type=float, default=4 * 3600, help="after which the run ends")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench-zoo", help="where cells are kept")
    parser.add_argument("--docs", type=Path, help="where the page goes (default: docs/, for the full size)")
    arguments = parser.parse_args(words)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    docs = arguments.docs or (ROOT / "docs" if arguments.size == "full" else arguments.folder)
    docs.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + arguments.seconds
    arguments.budget = arguments.budget or min(_BUDGET, max(_SHORTEST, arguments.seconds / _TABLES))
    every, failed = cells(arguments), False
    wanted = [cell for cell in every if cell.model in arguments.models]
    for number, cell in enumerate(sorted(wanted, key=lambda cell: kept(cell, arguments.folder) is not None), 1):
        left = end - time.monotonic()
        if of_today(kept(cell, arguments.folder)) or left <= 0:
            continue
        print(f"{number} of {len(wanted)}: {cell.key}", end=" ", flush=True)
        started = time.monotonic()
        why = measure(cell, arguments.folder, left)
        failed |= bool(why)
        print(f"{time.monotonic() - started:.0f} s {why}", flush=True)
    done = [(cell, told) for cell in every if (told := kept(cell, arguments.folder)) is not None]
    order = list(models())
    found = sorted((told for _, told in done), key=lambda told: order.index(told["cell"]["model"]))
    there = {cell.key for cell, _ in done}
    missing = [bench_page.label(cell.model, cell.sizes) for cell in every if cell.key not in there]
    bench_page.write(found, docs, code(), missing)
    print("\n".join(bench_page.table(found, code())))
    print(f"{len(found)} of {len(every)} cells are measured; the page is {docs / bench_page.PAGE}")
    complaints = list(bench_page.broken(found))
    for line in complaints:
        print(line)
    return 1 if failed or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
