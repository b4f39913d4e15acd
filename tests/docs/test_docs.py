"""What the pages say about names, options and files is so."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path

import click
import pytest
from pages import DOCS, PAGES, ROOT, anchors, blocks, commands, name_of, prose, quoted, rows, section, text_of

from backends.onnxruntime.options import HELP as ONNXRUNTIME_OPTIONS
from backends.registry import TARGETS
from compiler.cli.main import COMMANDS, group
from compiler.frontend.detect import Format
from compiler.frontend.specs import parse

LINK = re.compile(r"\[[^\]]+\]\((?P<target>[^)\s]+)\)")
COMMAND_PAGE = DOCS / "commands.md"
SHARED = {"--json", "--quiet", "-q", "--debug", "--help", "-h"}
WORDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(prose(page)):
        target = match["target"]
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), f"{target} leads nowhere"
        assert place.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(place), f"{name_of(place)} has no heading for #{anchor}"


def test_every_page_can_be_reached_from_the_first() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    while ahead:
        page = ahead.pop()
        if page.is_dir():
            ahead.extend(page.glob("*.md"))
        elif page not in reached and page.suffix == ".md":
            reached.add(page)
            targets = (match["target"].partition("#")[0] for match in LINK.finditer(prose(page)))
            ahead.extend((page.parent / target).resolve() for target in targets if target and "://" not in target)
    assert set(DOCS.rglob("*.md")) <= reached


# -- commands ---------------------------------------------------------------------------------------------------


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """A command's name and its arguments; the first word of the default command is a model."""
    return (words[0], words[1:]) if words[0] in COMMANDS else ("build", words)


@pytest.mark.parametrize(
    ("page", "words"), WORDS, ids=[f"{name_of(page)}-{number}" for number, (page, _) in enumerate(WORDS)]
)
def test_commands_parse(page: Path, words: list[str]) -> None:
    if words in (["--help"], ["--version"]):
        return
    name, arguments = command_of(words)
    found = group.get_command(click.Context(group), name)
    assert found is not None
    context = found.make_context(name, list(arguments))
    if name == "build":
        assert set(context.params["target"].split(",")) <= {*TARGETS, "all", "auto"}
        parse(context.params["input_specs"])


def test_make_has_the_targets_that_are_named() -> None:
    have = set(re.findall(r"^(\w[\w-]*):", text_of(ROOT / "Makefile"), re.M))
    shown = {
        word for page in PAGES for block in blocks(page) for word in re.findall(r"^ *make (\w[\w-]*)", block, re.M)
    }
    assert shown and shown <= have


def test_there_are_commands_to_test() -> None:
    assert len(WORDS) > 30


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tables_of_options_are_those_of_the_command_line(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    have = {frozenset(option.opts): option for option in command.params if isinstance(option, click.Option)}
    table = rows(section(COMMAND_PAGE, f"## compile {name}"))
    documented = {frozenset(quoted(cells[0])): cells[1] for cells in table if quoted(cells[0])[0].startswith("-")}
    assert documented.keys() == {opts for opts in have if not opts & SHARED}
    for opts, default in documented.items():
        option = have[opts]
        if isinstance(option.default, (str, int, float)) and not option.is_flag:
            assert quoted(default) == [
                f"{option.default:g}" if isinstance(option.default, float) else str(option.default)
            ]
        else:
            assert not quoted(default), f"{min(opts)} has no default"


def test_the_shared_options_are_listed_once() -> None:
    first = text_of(COMMAND_PAGE).partition("\n## ")[0]
    assert {word for cells in rows(first) for word in quoted(cells[0])} == SHARED


# -- tables that must be complete -------------------------------------------------------------------------------


def test_every_target_has_a_page() -> None:
    assert {page.stem for page in (DOCS / "backends").glob("*.md")} >= set(TARGETS)


def test_the_options_of_onnxruntime() -> None:
    table = rows(section(DOCS / "backends" / "onnxruntime.md", "## Options"))
    assert [quoted(cells[0])[0] for cells in table] == list(ONNXRUNTIME_OPTIONS)


def test_every_input_format_is_described() -> None:
    described = {name for cells in rows(section(DOCS / "inputs.md", "## Formats")) for name in quoted(cells[0])}
    assert {Format(name).value for name in Format} - {Format.BUNDLE} <= described


def test_every_field_of_a_manifest_is_described(mlp_bundle: Path) -> None:
    manifest = json.loads((mlp_bundle / "manifest.json").read_text())
    described = {
        quoted(cells[0])[0]: " ".join(cells[1:]) for cells in rows(section(DOCS / "bundle.md", "## The manifest"))
    }
    assert described.keys() == manifest.keys()
    for part in ("source", "options", "artifact", "reference"):
        missing = [name for name in manifest[part] if f"`{name}`" not in described[part]]
        assert not missing, f"{part} does not speak of {missing}"
    for name in manifest["verdict"]["outputs"][0]:
        assert name == "output" or f"`{name}`" in described["verdict"]


def test_every_file_of_a_bundle_is_described(mlp_bundle: Path) -> None:
    table = rows(text_of(DOCS / "bundle.md").partition("\n## ")[0])
    described = {name for cells in table for name in quoted(cells[0])}
    files = {path.relative_to(mlp_bundle).as_posix() for path in mlp_bundle.rglob("*") if path.is_file()}
    assert {re.sub(r"case-\d+", "case-0", name) for name in files} <= described


# -- the text itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_on_the_pages_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(textwrap.dedent(block).rstrip().removesuffix(","))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_place_on_somebodys_machine(page: Path) -> None:
    found = re.search(r"(?<![\w.])/(?:root|home|work|tmp|Users|opt|shared)/\S*", text_of(page))
    assert found is None, found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_capture_shows_a_bug_of_ours(page: Path) -> None:
    assert "error[internal]" not in text_of(page)
    assert "Traceback" not in text_of(page)
