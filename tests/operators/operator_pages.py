"""Writes docs/backends/operators.md and operator-issues.md: `python tests/operators/operator_pages.py`.

From what is known without running anything (the legality tables, ONNX's definitions, emitted.json) and from what
measure.py found (known/*.json).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from emitted import HUB_OPSET, stored

from backends import registry
from compiler.contracts import Legality

KNOWN = Path(__file__).with_name("known")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "backends"
TARGETS = [name for name in registry.TARGETS if name != "onnx"]
SUITES = {"node": "ONNX's tests of operators", "torch": "torch's samples of operators (op_db, float32)"}
GENERATED = "<!-- Written by tests/operators/operator_pages.py: change that, or measure again, and run it. -->\n"

ABOUT_OPERATORS = """\
Every operator of the ONNX standard that torch's exporters write, or plumbline itself, and what each target makes of it:
`yes`, it is taken as it is; `expanded`, through the operators that ONNX defines it with; `no`, a model with it is
refused before the build, with the line of Python that it comes from. `compile inspect MODEL --targets` says the same
about one model, types and attributes included.

The numbers are how many of ONNX's own tests of the operator pass, where not all do; what happens in the others stands
in [operator issues](operator-issues.md).
"""
ABOUT_MEASURING = """\
Each case is lowered, built, opened, run and compared as `compile` does it: ONNX's tests at their own tolerances,
torch's samples against PyTorch and its float64 run, as any model is ([parity](../parity.md)). A target that cannot run
here counts what it builds.
"""
ABOUT_ISSUES = """\
What fails of ONNX's own tests of operators and of torch's samples, target by target. `refused` is an error by name
before the build; `not built` and `not run` are errors of the runtime; `wrong` is another answer. The faults that were
reduced stand in [known issues](known-issues.md)."""

YES, EXPANDED, NO = "yes", "expanded", "no"


def taken(operator: str, legality: Legality) -> str:
    """What the table of a target says about an operator, whatever its types and attributes."""
    import onnx

    schema: Any = onnx.defs.get_schema(operator, HUB_OPSET, "")
    newer = schema.since_version > legality.opsets.get("", 0)
    if operator not in legality.refuses and not newer:
        return YES
    return EXPANDED if schema.has_function or schema.has_context_dependent_function else NO


def measured(suite: str, target: str) -> dict[str, Any]:
    file = KNOWN / f"{suite}.{target}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def operators_page() -> str:
    return "\n".join(_operators_lines()) + "\n"


def _operators_lines() -> Iterator[str]:
    legalities = {name: registry.get(name).legality for name in TARGETS}
    yield "# Operators"
    yield ""
    yield GENERATED
    yield ABOUT_OPERATORS
    yield f"| operator | {' | '.join(TARGETS)} |"
    yield f"|---|{'---|' * len(TARGETS)}"
    for operator in stored():
        yield f"| {operator} | {' | '.join(_cell(operator, name, legalities[name]) for name in TARGETS)} |"
    yield ""
    yield "## Why not"
    for name, legality in legalities.items():
        refused = {operator: why for operator, why in legality.refuses.items() if operator in stored()}
        yield ""
        yield f"### {name}"
        yield ""
        for operator, why in sorted(refused.items()):
            way = "; expanded" if taken(operator, legality) == EXPANDED else ""
            yield f"- `{operator}`: {why}{way}"
        for dtype, why in legality.dtypes.items():
            yield f"- {dtype}: {why}"
        if not refused and not legality.dtypes:
            yield "Nothing is refused."
    yield ""
    yield from _rates()


def _share(good: int, cases: int) -> tuple[str, str, str]:
    return str(cases), str(good), f"{100 * good / cases:.2f} %"


def _cell(operator: str, target: str, legality: Legality) -> str:
    counted = measured("node", target).get("operators", {}).get(operator, "")
    good, _, cases = counted.partition(" of ")
    return taken(operator, legality) + (f" ({counted})" if good != cases else "")


def _rates() -> Iterator[str]:
    yield "## What was measured"
    yield ""
    yield ABOUT_MEASURING
    yield "| suite | target | runtime | cases | good | rate | operators | with every case good | rate |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for suite, title in SUITES.items():
        for target in TARGETS:
            if found := measured(suite, target):
                counts = [count.split(" of ") for count in found["operators"].values()]
                whole = sum(good == cases for good, cases in counts)
                cells = (*_share(found["good"], found["cases"]), *_share(whole, len(counts)))
                yield f"| {title} | {target} | {found['runtime']} | {' | '.join(cells)} |"
    for suite, title in SUITES.items():
        reasons = next((found["not counted"] for target in TARGETS if (found := measured(suite, target))), {})
        yield ""
        yield f"Not counted in {title}, for every target alike:"
        yield ""
        yield from (f"- {count}: {why}" for why, count in reasons.items())
    yield ""
    yield "`make operators TARGET=...` measures again; `make test` checks a part of it against these tables."


UNCAPTURED = KNOWN / "torch.uncaptured.json"
ABOUT_UNCAPTURED = """\
These reach no target. Most have no translation in torch's exporter, and none of plumbline's own: polynomials whose
degree is data, singular values. Others only train, or their size depends on data in a way that torch.export refuses.

```python
import itertools, torch
from torch.testing._internal.common_methods_invocations import op_db

info = next(info for info in op_db if ".".join(filter(None, (info.name, info.variant_test_name))) == "OPERATOR")
torch.manual_seed(0)
samples = list(itertools.islice(info.sample_inputs("cpu", torch.float32), 40))
sample = samples[:: max(len(samples) // 2, 1)][NUMBER]  # of OPERATOR#NUMBER


class Sample(torch.nn.Module):
    def forward(self, x):
        return info.op(x, *sample.args, **sample.kwargs)


program = torch.onnx.export(Sample(), (sample.input,), dynamo=True, opset_version=24)
```

The same makes the `program` of one that fails on a target; `program.save("case.onnx")` is what its runtime is given.
"""

REPRODUCTIONS = {
    "onnxruntime": """\
options = onnxruntime.SessionOptions()
model.ir_version = min(model.ir_version, 12)  # or a newer file is refused for its version alone
session = onnxruntime.InferenceSession(model.SerializeToString(), options)
got = session.run(None, dict(zip([value.name for value in model.graph.input], inputs)))""",
    "openvino": """\
compiled = openvino.Core().compile_model(model.SerializeToString(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
got = list(compiled(inputs).values())""",
}


def issues_page() -> str:
    return "\n".join(_issues_lines()) + "\n"


def _issues_lines() -> Iterator[str]:
    yield "# Operator issues"
    yield ""
    yield GENERATED
    yield ABOUT_ISSUES
    for target in TARGETS:
        for suite, title in SUITES.items():
            if found := measured(suite, target):
                yield ""
                yield f"## {target}: {title}"
                yield ""
                yield f"{found['runtime']}: {found['good']} of {found['cases']} are good."
                yield ""
                if suite == "node" and target in REPRODUCTIONS:
                    yield from _reproduction(target)
                yield from _failures(found["failures"])
    if UNCAPTURED.exists():
        yield ""
        yield "## torch's samples that are not captured"
        yield ""
        yield ABOUT_UNCAPTURED
        yield "| samples | why |"
        yield "|---|---|"
        reasons: dict[str, list[str]] = {}
        for name, why in json.loads(UNCAPTURED.read_text()).items():
            reasons.setdefault(why, []).append(f"`{name}`")
        yield from (f"| {', '.join(names)} | {why.replace('|', chr(92) + '|')} |" for why, names in reasons.items())


def _reproduction(target: str) -> Iterator[str]:
    yield "One of them without plumbline, which may show a fault that plumbline works around:"
    yield ""
    yield "```python"
    yield f"import onnx, {target}"
    yield "from onnx.backend.test.loader import load_node_model_tests"
    yield ""
    yield 'case = next(case for case in load_node_model_tests() if case.name == "CASE")'
    yield "model, (inputs, want) = case.model, case.data_sets[0]"
    yield from REPRODUCTIONS[target].splitlines()
    yield "print(got, want)"
    yield "```"
    yield ""


def _failures(failures: dict[str, dict[str, str]]) -> Iterator[str]:
    """One row for the cases of an operator that fail in the same way."""
    if not failures:
        yield "Nothing fails."
        return
    yield "| operator | cases | | what happens |"
    yield "|---|---|---|---|"

    def way(item: tuple[str, dict[str, str]]) -> tuple[str, str, str]:
        return item[1]["operator"], item[1]["kind"], item[1]["why"]

    for (operator, kind, why), group in groupby(sorted(failures.items(), key=way), key=way):
        cases = ", ".join(f"`{name}`" for name, _ in group)
        yield f"| {operator} | {cases} | {kind} | {why.replace('|', chr(92) + '|')} |"


PAGES = {"operators.md": operators_page, "operator-issues.md": issues_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
