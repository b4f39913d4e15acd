"""How much of a suite a target takes: `python tests/operators/measure.py SUITE TARGET`.

Writes known/SUITE.TARGET.json, which tells the failures; whatever a suite has and the file does not name passes.
With --check the file is compared instead, and an unexpected pass is a difference, too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from outcome import GOOD, Outcome
from workers import outcomes

KNOWN = Path(__file__).with_name("known")
SUITES = {"node": "node_suite", "torch": "torch_suite"}


def table(suite: str, target: str) -> Path:
    return KNOWN / f"{suite}.{target}.json"


def main() -> int:
    arguments = _arguments()
    suite = importlib.import_module(SUITES[arguments.suite])
    warnings.simplefilter("ignore")  # the libraries', about what the cases are
    names = [name for name in suite.cases() if arguments.match in name][:: arguments.every]
    log = Path(arguments.log) / f"{arguments.suite}.{arguments.target}.jsonl"
    found = _recorded(log) if arguments.resume else {}
    log.parent.mkdir(parents=True, exist_ok=True)
    run = partial(_run, suite.__name__, arguments.target)
    left = [name for name in names if name not in found]
    with log.open("a" if arguments.resume else "w") as record:
        for name, outcome in outcomes(left, run, jobs=arguments.jobs, timeout=arguments.timeout):
            found[name] = outcome
            record.write(json.dumps([name, outcome.to_json()]) + "\n")
            record.flush()
            if arguments.verbose and not outcome.good:
                _say(f"{name}: {outcome.kind}: {outcome.why}")
    found = {name: found[name] for name in names}
    _summarize(found, suite)
    if arguments.check:
        return _check(found, table(arguments.suite, arguments.target))
    if len(names) == len(suite.cases()) and suite.is_whole():
        _write(found, suite, arguments.target)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("target")
    parser.add_argument("--match", default="", help="only cases whose name holds this; nothing is written")
    parser.add_argument("--every", type=int, default=1, help="only each Nth case; nothing is written")
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run has found")
    parser.add_argument("--log", default="build/operators", help="the folder for what is found, case by case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one case")
    parser.add_argument("--verbose", action="store_true", help="show failures as they come")
    return parser.parse_args()


def _run(suite: str, target: str, name: str, folder: Path) -> Outcome:
    from backends import registry

    outcome: Outcome = importlib.import_module(suite).run(name, registry.get(target), folder)
    return outcome


def _recorded(log: Path) -> dict[str, Outcome]:
    lines = log.read_text().splitlines() if log.exists() else []
    return {name: Outcome(**fields) for name, fields in map(json.loads, lines)}


def _summarize(found: dict[str, Outcome], suite: Any) -> None:
    kinds = Counter(outcome.kind for outcome in found.values())
    good = sum(kinds[kind] for kind in GOOD)
    _say(f"{good} of {len(found)} cases: {_rate(good, len(found))}; {dict(kinds)}")
    operators = {suite.operator(name) for name in found}
    whole = operators - {suite.operator(name) for name, outcome in found.items() if not outcome.good}
    _say(f"{len(whole)} of {len(operators)} operators with every case: {_rate(len(whole), len(operators))}")
    for why, count in suite.excluded().items():
        _say(f"not counted, {count}: {why}")


def _rate(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.2f} %"


def _write(found: dict[str, Outcome], suite: Any, target: str) -> None:
    from backends import registry

    state: Any = registry.probe(target)
    failures = {name: outcome.to_json() for name, outcome in sorted(found.items()) if not outcome.good}
    counts: dict[str, list[int]] = {}  # operator -> how many of its cases are good, and how many there are
    for name, outcome in found.items():
        count = counts.setdefault(suite.operator(name), [0, 0])
        count[0] += outcome.good
        count[1] += 1
    content = {
        "runtime": state.version,
        "cases": len(found),
        "good": len(found) - len(failures),
        "not counted": suite.excluded(),
        "operators": {name: f"{good} of {cases}" for name, (good, cases) in sorted(counts.items())},
        "failures": {name: {"operator": suite.operator(name), **fields} for name, fields in failures.items()},
    }
    table(suite.NAME, target).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _check(found: dict[str, Outcome], file: Path) -> int:
    failures = json.loads(file.read_text())["failures"]
    surprises = {name: outcome for name, outcome in found.items() if outcome.good == (name in failures)}
    for name, outcome in surprises.items():
        _say(f"{name}: {outcome.kind} {outcome.why}; {file.name} says otherwise")
    return 1 if surprises else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
