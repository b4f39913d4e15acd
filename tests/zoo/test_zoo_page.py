"""docs/backends/zoo.md has a cell for every model of the zoo on every target."""

from __future__ import annotations

import tomllib

import zoo_page


def cells(page: str) -> dict[str, list[str]]:
    table = page.partition("## At the edge")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    return {name: row for name, *row in rows if set(name) != {"-"}}


def test_the_page_has_every_model_and_every_target() -> None:
    models = tomllib.loads((zoo_page.ROOT / "models" / "zoo.toml").read_text(encoding="utf-8"))
    have = cells(zoo_page.PAGE.read_text(encoding="utf-8"))
    assert have.pop("model")[2:] == list(zoo_page.TARGETS)
    assert list(have) == [name for name in models if name != "check"], "make zoo-page"
    for name, row in have.items():
        taken = [target for target, cell in zip(zoo_page.TARGETS, row[2:], strict=True) if cell != "no"]
        assert taken == [target for target in zoo_page.TARGETS if target in models[name]["targets"]], "make zoo-page"


def test_what_is_written_reads_the_same() -> None:
    assert cells(zoo_page.page()).keys() == cells(zoo_page.PAGE.read_text(encoding="utf-8")).keys()
