"""docs/errors.md lists every error code that the source can raise, with its exit code, and no other."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pages import DOCS, ROOT, quoted, rows, section, text_of

from compiler import errors
from compiler.errors import Exit, PlumblineError

PAGE = DOCS / "errors.md"
SOURCES = sorted(path for room in ("compiler", "backends") for path in (ROOT / room).rglob("*.py"))

CLASSES: dict[str, type[PlumblineError]] = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, PlumblineError)
}


@dataclass
class Found:
    exits: set[int] = field(default_factory=set)
    places: list[str] = field(default_factory=list)


def called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def raises(path: Path) -> Iterator[tuple[ast.Call, ast.FunctionDef | None]]:
    """Every call that makes an error, with the function around it."""

    def walk(node: ast.AST, around: ast.FunctionDef | None) -> Iterator[tuple[ast.Call, ast.FunctionDef | None]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and called(child) in CLASSES:
                yield child, around
            yield from walk(child, child if isinstance(child, ast.FunctionDef) else around)

    return walk(ast.parse(path.read_bytes()), None)


def codes() -> dict[str, Found]:
    """Codes as they are written, and those handed to a function that passes its first argument on as the code."""
    found: dict[str, Found] = defaultdict(Found)
    handed_on: dict[str, int] = {}
    for path in SOURCES:
        for call, around in raises(path):
            kind, code = CLASSES[called(call)], call.args[0] if call.args else None
            place = f"{path.relative_to(ROOT)}:{call.lineno}"
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                found[code.value].exits.add(int(kind.exit_code))
                found[code.value].places.append(place)
                continue
            first = around.args.args[0].arg if around is not None and around.args.args else None
            assert around is not None and isinstance(code, ast.Name) and code.id == first, f"{place}: which code is it?"
            handed_on[around.name] = int(kind.exit_code)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and called(node) in handed_on:
                code = node.args[0]
                assert isinstance(code, ast.Constant), f"{path}:{node.lineno}: write the code where it is used"
                found[str(code.value)].exits.add(handed_on[called(node)])
                found[str(code.value)].places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def on_the_page() -> dict[str, set[int]]:
    table = rows(text_of(PAGE).partition("\n## The command line\n")[2])
    codes = [quoted(cells[0])[0] for cells in table]
    assert len(codes) == len(set(codes)), "a code stands on the page twice"
    return {code: {int(number) for number in cells[1].split(",")} for code, cells in zip(codes, table, strict=True)}


def test_every_code_is_on_the_page_and_no_other() -> None:
    source, page = codes(), on_the_page()
    missing = {code: source[code].places for code in source.keys() - page.keys()}
    assert not missing, f"docs/errors.md does not explain {missing}"
    assert not page.keys() - source.keys(), "docs/errors.md explains what nothing raises any more"


def test_the_page_states_the_exit_codes_right() -> None:
    page = on_the_page()
    assert {code: found.exits for code, found in codes().items()} == page


def test_every_exit_code_is_listed() -> None:
    listed = [int(cells[0]) for cells in rows(section(PAGE, "## Exit codes"))]
    assert listed == sorted(int(code) for code in Exit)


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    for cells in rows(text_of(PAGE).partition("\n## The command line\n")[2]):
        assert all(cells), cells
