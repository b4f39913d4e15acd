"""Random PyTorch modules through the whole of plumbline, on every target: `make fuzz-models N=3000 SEED=0`.

What was found is kept in a file, seed by seed, so that a run that was interrupted goes on where it was. One seed alone,
with its source: `python tests/fuzz/fuzz_models.py --show SEED`; shortened: `--reduce SEED`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operators"))

import grammar_layers
import grammar_layouts
import grammar_numbers
import torch
from capture_samples import read_translations_once
from model_known import is_known
from model_maker import Entry, make
from model_reduce import reduced
from model_source import Model
from model_trial import FINE, FRONT, TARGETS, attempt, whose_fault
from outcome import CRASHED, HUNG, PASSED, WRONG, Outcome
from workers import outcomes

GRAMMAR: tuple[Entry, ...] = (*grammar_numbers.ENTRIES, *grammar_layouts.ENTRIES, *grammar_layers.ENTRIES)
LOG = Path("build/fuzz/models.jsonl")
OFTEN = 20  # times that an operator has to come before it counts as covered
_TIMEOUT = 180.0  # seconds for one module on all targets
_BATCH = 50  # seeds after which what crashed is asked about


@dataclass(frozen=True)
class Found:
    """What a seed has shown."""

    seed: int
    outcomes: dict[str, Outcome]
    operators: tuple[str, ...]

    @staticmethod
    def of(line: str) -> Found:
        fields = json.loads(line)
        results = {target: Outcome(**outcome) for target, outcome in fields["outcomes"].items()}
        return Found(fields["seed"], results, tuple(fields["operators"]))

    def news(self) -> Iterator[tuple[str, Outcome]]:
        """What somebody has to look at."""
        for target, outcome in self.outcomes.items():
            if outcome.kind not in FINE and not is_known(target, outcome):
                yield target, outcome

    def line(self) -> str:
        results = {target: {"kind": outcome.kind, "why": outcome.why} for target, outcome in self.outcomes.items()}
        return json.dumps({"seed": self.seed, "outcomes": results, "operators": self.operators}) + "\n"


def trial(name: str, folder: Path) -> Outcome:
    """One case of a worker: "SEED", or "SEED@TARGET"."""
    seed, _, target = name.partition("@")
    torch.set_num_threads(1)
    return attempt(make(int(seed), GRAMMAR), folder, (target,) if target else TARGETS)


def search(seeds: list[int], *, jobs: int = 1, timeout: float = _TIMEOUT) -> Iterator[Found]:
    """Each seed with what it has shown, as they come. After a crash each target is asked apart: it was one of them."""
    lost: dict[int, Outcome] = {}
    for name, outcome in outcomes([str(seed) for seed in seeds], trial, jobs=jobs, timeout=timeout):
        if outcome.kind in (CRASHED, HUNG):
            lost[int(name)] = outcome
        else:
            yield _found(int(name), outcome)
    for seed, outcome in lost.items():
        results, operators = {}, ()
        for name, each in outcomes([f"{seed}@{target}" for target in TARGETS], trial, jobs=1, timeout=timeout):
            if each.kind in (CRASHED, HUNG):
                results[name.partition("@")[2]] = each
            else:
                apart = _found(seed, each)
                results |= apart.outcomes
                operators = apart.operators or operators
        crashed = any(each.kind in (CRASHED, HUNG) for each in results.values())
        yield Found(seed, results if crashed else {**results, FRONT: outcome}, operators)


def _found(seed: int, outcome: Any) -> Found:
    return Found(seed, dict(outcome.outcomes), outcome.operators)


# -- what was found -------------------------------------------------------------------------------------------------


def recorded(log: Path) -> dict[int, Found]:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return {found.seed: found for found in map(Found.of, (line for line in lines if line.endswith("\n")))}


def summary(found: list[Found]) -> list[str]:
    lines = []
    for target in (FRONT, *TARGETS):
        kinds = Counter(each.outcomes[target].kind for each in found if target in each.outcomes)
        lines.append(f"{target}: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common()) or 'nothing'}")
    return lines + _failures(found) + _coverage(found)


def _failures(found: list[Found]) -> list[str]:
    """What failed, by target and symptom, and the first seeds that show it."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for each in found:
        for target, outcome in each.outcomes.items():
            if outcome.kind != PASSED:
                kind = f"{outcome.kind}, a known issue" if is_known(target, outcome) else outcome.kind
                key = (target, kind, _symptom(outcome))
                groups.setdefault(key, []).append(each.seed)
    ranked = sorted(groups.items(), key=lambda group: (group[0][1] in FINE, -len(group[1])))
    return [f"{len(seeds):>5}  {' | '.join(key)}  seeds {', '.join(map(str, seeds[:5]))}" for key, seeds in ranked]


def _symptom(outcome: Outcome) -> str:
    """The reason without what differs from module to module."""
    if outcome.kind == WRONG:
        return re.sub(r"[-+]?\d[\d.e+-]*", "#", outcome.why.partition(": ")[2])[:60]
    return re.sub(r"\d+", "#", outcome.why)[:100]


def coverage(found: list[Found]) -> Counter[str]:
    """How often each ATen operator came, its overloads together."""
    names = (name for each in found for name in each.operators if name.startswith("aten."))
    counts = Counter(name.split(".")[1] for name in names)
    counts.update(name for each in found for name in each.operators if name in ("cond", "while_loop"))
    return counts


def _coverage(found: list[Found]) -> list[str]:
    counts = coverage(found)
    often = sum(count >= OFTEN for count in counts.values())
    lines = [f"{len(found)} modules, {len(counts)} ATen operators, {often} of them {OFTEN} times or more"]
    words = [f"{name} {count}" for name, count in counts.most_common()]
    return lines + ["  " + ", ".join(words[start : start + 12]) for start in range(0, len(words), 12)]


# -- one seed -------------------------------------------------------------------------------------------------------


def reduce(seed: int) -> tuple[str, Model] | None:
    """The first target that fails, and the smallest module that fails on it in the same way."""
    model = make(seed, GRAMMAR)
    for target in TARGETS:
        wanted = _apart(model, target)
        if wanted.kind not in FINE:
            return target, reduced(model, partial(_fails_alike, target, wanted))
    return None


def _fails_alike(target: str, wanted: Outcome, smaller: Model) -> bool:
    have = _apart(smaller, target)
    return have.kind == wanted.kind and _symptom(have)[:30] == _symptom(wanted)[:30]


def _apart(model: Model, target: str) -> Outcome:
    """In a child process, which may crash."""
    ((_, outcome),) = outcomes([target], lambda name, folder: attempt(model, folder, (name,)), jobs=1, timeout=_TIMEOUT)
    return outcome


def _show(seed: int) -> None:
    model = make(seed, GRAMMAR)
    print(model.source())
    print(" ".join(f"--input '{spec}'" for spec in model.specs()))
    with tempfile.TemporaryDirectory() as folder:
        for target, outcome in attempt(model, Path(folder)).outcomes.items():
            print(f"{target}: {outcome.kind} {outcome.why}")


def _reduce(seed: int) -> None:
    found = reduce(seed)
    if found is None:
        print(f"seed {seed} passes")
        return
    target, model = found
    print(model.source().partition("\n\n\nclass ")[2])
    print(" ".join(f"--input '{spec}'" for spec in model.specs()))
    outcome = _apart(model, target)
    print(f"{target}: {outcome.kind} {outcome.why}")
    if outcome.kind == WRONG:
        print(f"the fault is in {whose_fault(model)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this long")
    parser.add_argument("--log", type=Path, default=LOG)
    parser.add_argument("--again", action="store_true", help="forget what an earlier run has found")
    parser.add_argument("--show", type=int, metavar="SEED", help="one module's source and what becomes of it")
    parser.add_argument("--reduce", type=int, metavar="SEED", help="the smallest module that fails like this one")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    read_translations_once()
    if options.show is not None:
        _show(options.show)
        return 0
    if options.reduce is not None:
        _reduce(options.reduce)
        return 0
    return _run(options)


def _in_batches(seeds: list[int], jobs: int) -> Iterator[Found]:
    for start in range(0, len(seeds), _BATCH):
        yield from search(seeds[start : start + _BATCH], jobs=jobs)


def _tell(found: Found) -> None:
    for target, outcome in found.news():
        print(f"seed {found.seed}, {target}: {outcome.kind}: {outcome.why}", flush=True)


def _run(options: argparse.Namespace) -> int:
    options.log.parent.mkdir(parents=True, exist_ok=True)
    known = {} if options.again else recorded(options.log)
    wanted = range(options.seed, options.seed + options.n)
    left = [seed for seed in wanted if seed not in known]
    started = time.monotonic()
    with options.log.open("w" if options.again else "a") as log:
        for found in _in_batches(left, options.jobs):
            known[found.seed] = found
            log.write(found.line())
            log.flush()
            _tell(found)
            if time.monotonic() - started > options.seconds:
                break
    results = [known[seed] for seed in wanted if seed in known]
    print("\n".join(summary(results)))
    return 1 if any(True for each in results for _ in each.news()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
