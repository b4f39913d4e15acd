"""Which room may import which, and what must stay unimported until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Everybody may import these: they import nothing but the standard library, numpy and each other.
GROUND = {
    "compiler",
    "compiler.errors",
    "compiler.contracts",
    "compiler.cases",
    "compiler.verdicts",
    "compiler.unit",
    "compiler.quiet",
    "compiler.graph_files",
    "compiler.child",
}

# Room -> the rooms that it may import, beside itself and the ground. Some rooms are still to be built.
ROOMS: dict[str, set[str]] = {
    "compiler": {"compiler.api"},  # late, for `compiler.compile`
    "compiler.errors": set(),
    "compiler.contracts": set(),
    "compiler.cases": set(),
    "compiler.verdicts": set(),
    "compiler.unit": set(),
    "compiler.quiet": set(),
    "compiler.child": set(),
    "compiler.graph_files": set(),
    "compiler.bundle": set(),
    "compiler.cache": set(),
    "compiler.report": {"compiler.bundle"},
    "compiler.ir": set(),
    "compiler.validate": set(),
    "compiler.measure": set(),
    "compiler.passes": {"compiler.ir"},
    "compiler.frontend": {"compiler.ir", "compiler.bundle"},
    "compiler.diagnose": {"compiler.validate", "compiler.passes", "compiler.ir"},
    "compiler.precision": {"compiler.validate", "compiler.passes", "compiler.ir"},
    "compiler.search": {"compiler.bench", "compiler.measure"},
    "compiler.terms": {"compiler.validate", "compiler.frontend", "compiler.bundle"},
    "compiler.job": {"compiler.bundle", "compiler.frontend", "compiler.precision"},
    "compiler.recorded": {"compiler.terms", "compiler.frontend", "compiler.bundle"},
}
_STAGES = set(ROOMS) - {"compiler"}
ROOMS |= {
    "compiler.driver": _STAGES,
    "compiler.record": _STAGES,
    "compiler.bisection": {
        "compiler.driver",
        "compiler.job",
        "compiler.bundle",
        "compiler.diagnose",
        "compiler.frontend",
    },
    "compiler.layers": {"compiler.driver", "compiler.job", "compiler.diagnose", "compiler.frontend"},
    "compiler.api": _STAGES
    | {"compiler.driver", "compiler.record", "compiler.bisection", "compiler.layers", "backends"},
    "compiler.check": _STAGES | {"compiler.driver", "compiler.api"},  # is given the targets' probes
    "compiler.auto": _STAGES | {"compiler.driver", "compiler.api", "compiler.bench", "backends"},
    "compiler.auto_precision": _STAGES
    | {"compiler.driver", "compiler.api", "compiler.auto", "compiler.bench", "backends"},
    "compiler.bench": {
        "compiler.bundle",
        "compiler.recorded",
        "compiler.frontend",
        "compiler.measure",
        "compiler.validate",
        "backends",
    },
    "compiler.cli": _STAGES
    | {
        "compiler.driver",
        "compiler.record",
        "compiler.api",
        "compiler.check",
        "compiler.bench",
        "compiler.auto",
        "compiler.auto_precision",
        "backends",
    },
    "backends": {"compiler.bundle", "compiler.cache", "compiler.ir", "compiler.passes"},
}

# What only some places may import at the top of a module, where everyone who imports the module pays for it.
HEAVY = {"torch", "transformers", "onnx", "onnx_ir", "onnxscript"}
HEAVY |= {"onnxruntime", "onnxsim", "openvino", "tensorrt", "tensorrt_rtx", "tvm", "matplotlib"}
HEAVY_AT_TOP: dict[str, set[str]] = {
    "compiler.ir": {"onnx", "onnx_ir"},
    "compiler.ir.kernels": {"torch"},  # the evaluator computes with torch; it imports them when it is first called
    "compiler.passes": {"onnx", "onnx_ir", "onnxscript"},
    "compiler.frontend": {"torch", "transformers", "onnx", "onnx_ir", "onnxscript"},
    "compiler.precision": {"onnx_ir"},
    "compiler.diagnose": {"onnx_ir"},
    # These are imported when a model is built, never when an artifact is loaded.
    "backends.tvm.emit": {"tvm", "onnx_ir"},
    "backends.tvm.lower": {"tvm"},
    "backends.tvm.named": {"onnx_ir"},
    "backends.openvino.build": {"onnx_ir"},
    "backends.openvino.integers": {"onnx_ir"},
    "backends.openvino.refusals": {"onnx_ir"},
}

MODULES = sorted(path for room in ("compiler", "backends") for path in (ROOT / room).rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    top, *rest = module.split(".")
    return top if top == "backends" or not rest else f"{top}.{rest[0]}"


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, module, and whether it is imported with the file: neither late nor for type checkers only."""
    tree = ast.parse(path.read_bytes())
    at_top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, node in at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively; say where it comes from"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield node.lineno, below if is_module(below) else str(node.module), node in at_top


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def forbidden(importer: str, imported: str) -> str | None:
    """Why one module may not import another; None where it may."""
    room, other = room_of(importer), room_of(imported)
    if other.partition(".")[0] not in ("compiler", "backends"):
        return None
    if room == other == "backends":
        mine, theirs = target_of(importer), target_of(imported)
        return f"{mine} imports the backend {theirs}" if mine and theirs and mine != theirs else None
    if other not in ROOMS:
        return f"the room {other} is not in the table"
    if other == room or other in GROUND or other in ROOMS[room]:
        return None
    return f"{room} may not import {other}"


def target_of(module: str) -> str | None:
    """The target that a module below backends/ belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "backends" / parts[1]).is_dir() else None


def may_import_at_top(module: str) -> set[str]:
    parts = module.split(".")
    places = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    if parts[0] == "backends" and "passes" in parts:
        places.append("compiler.passes")  # a target's own passes are imported late, too
    return set().union(*(HEAVY_AT_TOP.get(place, set()) for place in places))


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_follow_the_table(path: Path) -> None:
    assert room_of(dotted(path)) in ROOMS, f"{path}: the room is not in the table"
    wrong = [
        f"{path}:{line}: {why}"
        for line, module, _ in imports(path)
        if (why := forbidden(dotted(path), module)) is not None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_heavy_packages_are_imported_late(path: Path) -> None:
    allowed = may_import_at_top(dotted(path))
    found = ((line, module.partition(".")[0]) for line, module, at_top in imports(path) if at_top)
    wrong = [f"{path}:{line}: {name} at the top" for line, name in found if name in HEAVY - allowed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(GROUND - {"compiler"}))
def test_the_ground_is_the_standard_library_and_numpy(name: str) -> None:
    modules = {module for _, module, _ in imports(ROOT.joinpath(*name.split(".")).with_suffix(".py"))}
    found = {module.partition(".")[0] for module in modules - GROUND}
    assert found <= sys.stdlib_module_names | {"numpy", "onnx_ir"}  # onnx_ir is for type checkers, as tested below


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("compiler.validate.compare", "backends.onnxruntime.session"),
        ("compiler.passes.fold_constants", "compiler.frontend.sizes"),
        ("compiler.frontend.open", "compiler.passes.pipeline"),
        ("compiler.driver", "compiler.cli.build"),
        ("compiler.errors", "compiler.bundle"),
        ("compiler.report.words", "compiler.ir.text"),
        ("compiler.api", "compiler.a_room_nobody_planned"),
        ("backends.onnx.backend", "backends.onnxruntime.session"),
        ("backends.onnx.backend", "compiler.driver"),
        ("backends.onnx.backend", "compiler.frontend.open"),
    ],
)
def test_the_table_forbids(importer: str, imported: str) -> None:
    assert forbidden(importer, imported) is not None


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("compiler.validate.compare", "compiler.contracts"),
        ("compiler.passes.fold_constants", "compiler.ir.text"),
        ("compiler.cli.build", "backends.registry"),
        ("backends.onnx.backend", "backends.checked"),
        ("backends.loading", "compiler.bundle"),
    ],
)
def test_the_table_allows(importer: str, imported: str) -> None:
    assert forbidden(importer, imported) is None


# -- what a process has imported --------------------------------------------------------------------------------


def imported_by(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running this code."""
    tail = "\nimport sys\nprint('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), (["build", "--help"], 0), (["build", "--no-such-option"], 2), (["verfy"], 2)],
)
def test_the_command_line_answers_without_a_framework(arguments: list[str], code: int) -> None:
    program = f"from compiler.cli.main import run\nassert run({arguments!r}) == {code}"
    loaded = imported_by(program)
    assert "click" in loaded
    assert not loaded & HEAVY


def test_an_artifact_runs_without_torch_and_the_compiler_packages(mlp_bundle: Path) -> None:
    loaded = imported_by(
        "import sys, numpy, backends\n"
        "with backends.load(sys.argv[1]) as session:\n"
        "    outputs = session({'x': numpy.ones((2, 16), 'float32')})\n"
        "    assert outputs['output'].shape == (2, 4)",
        str(mlp_bundle),
    )
    assert "onnxruntime" in loaded
    assert not loaded & (HEAVY - {"onnxruntime"})


def test_contracts_need_the_standard_library_and_numpy_only() -> None:
    blocked = "'onnx_ir', 'onnx', 'torch', 'ml_dtypes', 'rich', 'click'"
    away = f"import sys\nfor name in ({blocked}): sys.modules[name] = None\n"
    loaded = imported_by(away + "import compiler.contracts, compiler.errors, compiler.bundle, backends")
    assert "numpy" in loaded
