"""Every page is whole by itself, and nothing that a model brings along becomes a part of it."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import report_data as pages
from read_page import Read

from compiler.report.html import bench, bundle
from compiler.report.html.markup import tag, text


def page_of_bundle(name: str = "logits", status: str = "passed") -> str:
    return bundle.html("net.onnxruntime", pages.manifest(name, status), 60141, layers=pages.layers(name))


PAGES = {
    "bundle": page_of_bundle,
    "rejected": lambda: page_of_bundle(status="failed"),
    "not run": lambda: page_of_bundle(status="not run"),
    "skipped": lambda: page_of_bundle(status="skipped"),
    "lower precision": lambda: bundle.html("net.onnxruntime", pages.manifest(low=True), 60141),
    "hostile precision": lambda: bundle.html("net.tvm", pages.manifest(pages.HOSTILE, low=True), 60141),
    "auto": lambda: bundle.html("net.auto", pages.manifest(), 60141, choice=pages.choice()),
    "bench": lambda: bench.html("net", pages.bench()),
    "hostile bundle": lambda: page_of_bundle(pages.HOSTILE),
    "hostile auto": lambda: bundle.html(
        pages.HOSTILE, pages.manifest(pages.HOSTILE), 60141, choice=pages.choice(pages.HOSTILE)
    ),
    "hostile bench": lambda: bench.html(pages.HOSTILE, pages.bench(pages.HOSTILE)),
}


@cache
def drawn(name: str) -> str:
    """Once for all tests."""
    return PAGES[name]()


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return drawn(request.param)


def test_it_runs_nothing_and_fetches_nothing(page: str) -> None:
    read = Read(page)
    kinds = {tag for tag, _ in read.found}
    assert not kinds & {"script", "img", "image", "iframe", "object", "embed", "link", "base", "form", "foreignobject"}
    for _, attributes in read.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href", "action", "background"):
            assert (attributes.get(name) or "#").startswith("#")
        assert "url(" not in re.sub(r"url\(#", "", attributes.get("style") or "")
    style = read.inside("style")
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [one["content"] for one in read.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_names_inside_are_unique_and_lead_somewhere(page: str) -> None:
    read = Read(page)
    names = Counter(attributes["id"] for _, attributes in read.found if "id" in attributes)
    assert [name for name, count in names.items() if count > 1] == []
    led = [attributes["href"] for _, attributes in read.found if attributes.get("href")]
    led += [match for _, attributes in read.found for value in attributes.values()
            for match in re.findall(r"url\((#[^)]+)\)", value or "")]  # fmt: skip
    led += [f"#{name}" for chart in read.all("svg") for name in (chart["aria-labelledby"] or "").split()]
    assert {name.removeprefix("#") for name in led} <= set(names)


def test_charts_are_told_in_words_and_in_the_colours_of_the_page(page: str) -> None:
    read = Read(page)
    charts = read.all("svg")
    for chart in charts:
        assert chart["role"] == "img"
        assert chart["viewbox"]
    assert len([1 for tag, _ in read.found if tag == "desc"]) == len(charts)
    assert not re.findall(r"<(?:svg|g|path|text|use)[^>]*#[0-9a-fA-F]{6}", page)
    assert "font-family: '" not in page


def test_everything_is_in_it(page: str) -> None:
    read = Read(page)
    sections = [one["id"] for one in read.all("section")]
    assert sections[-2:] == ["environment", "data"]
    assert [one["href"] for one in read.all("a")] == [f"#{name}" for name in sections]
    told = json.loads(read.inside("pre"))
    assert told["host"] == pages.HOST


@pytest.mark.parametrize("status", ["passed", "failed", "not run", "skipped"])
def test_a_bundle_tells_its_verdict_first(status: str) -> None:
    read = Read(drawn({"passed": "bundle", "failed": "rejected"}.get(status, status)))
    words = [words for tag, words in read.words if tag == "strong"]
    marks = {"passed": "✓ IT COMPUTES WHAT THE MODEL COMPUTES", "failed": "✗ REJECTED", "not run": "! BUILT, NOT RUN",
             "skipped": "! NOT VERIFIED"}  # fmt: skip
    assert words[:1] == [marks[status]]
    sections = [one["id"] for one in read.all("section")]
    assert sections == ["outputs", "edges", "layers", "passes", "interface", "origin", "environment", "data"]


def test_lower_precision_is_told_layer_by_layer() -> None:
    read = Read(drawn("lower precision"))
    assert "precision" in [one["id"] for one in read.all("section")]
    assert {"8.25", "640", "1.23e-02", "320"} <= set(read.inside("td").split())
    assert read.inside("strong") == "✓ IT KEEPS WHAT WAS ASKED FOR"


def test_what_a_contract_decided_is_not_called_equal() -> None:
    told = pages.manifest()
    told["verdict"]["outputs"][0]["decided"] = "contract"
    assert Read(bundle.html("net", told, 60141)).inside("strong") == "✓ IT KEEPS WHAT WAS ASKED FOR"


def test_a_bench_has_its_sections() -> None:
    sections = [one["id"] for one in Read(drawn("bench")).all("section")]
    assert sections == ["speed", "latency", "cost", "operators", "environment", "data"]


def test_the_numbers_of_charts_stand_in_tables() -> None:
    cells = Read(drawn("bundle")).inside("td").split()
    assert {"14%", "7.1%", "4.7%", "1.63e-05", "118", "116", "90", "55592", "55608", "12.3", "7"} <= set(cells)
    assert {f"{error:.3g}" for errors in pages.layers()["errors"].values() for error in errors} <= set(cells)
    told = pages.bench()
    cells = Read(drawn("bench")).inside("td").split()
    for row in told["tables"][0]["rows"]:
        if row["latency"]:
            latency = row["latency"]
            wanted = [latency[key] for key in ("p50", "p90", "p95", "p99", "mean")]
            wanted += [row["spread"][percent] for percent in (0, 5, 25, 75, 100)]
            assert {f"{1000 * value:.4g}" for value in wanted} <= set(cells)


@pytest.mark.parametrize("name", ["bundle", "auto", "bench"])
def test_every_number_is_in_the_json(name: str) -> None:
    source: Any = {
        "bundle": {**pages.manifest(), "layers": pages.layers()},
        "auto": {**pages.manifest(), "choice": pages.choice()},
        "bench": pages.bench(),
    }[name]
    told = json.loads(Read(drawn(name)).inside("pre"))
    assert Counter(_numbers(told)) == Counter(_numbers(source))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for child in value.values():
            yield from _numbers(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _numbers(child)
    elif isinstance(value, (int, float)):
        yield float(value)


def test_a_hostile_name_is_a_name() -> None:
    read = Read(drawn("hostile bundle"))
    shown = "".join(words for tag, words in read.words if tag == "code")
    assert "<script>alert(1)</script>" in shown
    assert "\x00" not in shown
    assert "\u202e" not in shown
    assert "$\\frac{1}{0}$" in shown


def test_numbers_that_are_none_can_be_shown() -> None:
    told = pages.manifest(status="failed")
    for word in ("inf", "nan"):
        told["verdict"]["outputs"].append({**pages.output(word), "used": word, "shares": {"element": word}})
    assert "all and more" in Read(bundle.html("net", told, 60141)).inside("td")
    table = pages.bench_table()
    table["rows"] += [pages.row(word, 0.002, float(word), "failed") for word in ("inf", "nan")]
    shown = Read(bench.html("net", {**pages.bench(), "tables": [table]}))
    assert len(shown.all("svg")) == 3


@pytest.mark.parametrize(
    ("used", "status", "word"),
    [
        (0.2, "passed", "✓ ALL NUMBERS ARE EQUAL"),
        (20.0, "passed", "! THE NUMBERS OF net ARE WHAT A CONTRACT ALLOWS"),
        (20.0, "failed", "✗ THE NUMBERS OF net DIFFER"),
        (None, "skipped", "! THE NUMBERS OF net: not verified"),
    ],
)
def test_a_bench_says_how_equal_first(used: float | None, status: str, word: str) -> None:
    table = {**pages.bench_table(), "rows": [pages.row("eager", 0.01, 0.1), pages.row("net", 0.002, used, status)]}
    shown = Read(bench.html("net", {**pages.bench(), "tables": [table], "profiles": []}))
    assert shown.inside("strong") == word


def test_lower_precision_is_told_by_what_it_keeps() -> None:
    kept = pages.error(
        "passed", 19748.0, promises=[{"output": "y", "text": "cosine>=0.99", "worst": 0.9964}], fidelity=0.063
    )
    rows = [pages.row("eager", 0.01, 0.1), pages.row("tvm int8", 0.002, None, error=kept)]
    shown = Read(bench.html("net", {**pages.bench(), "tables": [pages.bench_table(rows=rows)], "profiles": []}))
    assert "THE NUMBERS OF tvm int8 ARE WHAT A CONTRACT ALLOWS" in shown.inside("strong")
    assert "! cosine 0.9964" in shown.inside("b")
    assert "6.3% of its own" in shown.inside("td")
    assert "times it" not in shown.inside("td")
    assert "tvm int8: it keeps cosine 0.9964 (>= 0.99) in 'y'" in shown.inside("p")


def test_a_bench_in_which_nothing_was_timed() -> None:
    table = {**pages.bench_table(), "rows": pages.bench_table()["rows"][-1:], "against": "", "rounds": 0}
    shown = Read(bench.html("net", {**pages.bench(), "tables": [table], "profiles": []}))
    assert not shown.all("svg")
    assert "absent was not timed" in shown.inside("p")
    assert "! absent WAS NOT TIMED" in shown.inside("strong")


def test_the_same_is_written_the_same() -> None:
    assert page_of_bundle() == drawn("bundle")
    assert bench.html("net", pages.bench()) == drawn("bench")


def test_without_matplotlib_the_tables_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    read = Read(page_of_bundle())
    assert not read.all("svg")
    assert "because matplotlib is not installed" in read.inside("p")
    assert len(read.all("table")) > 5


def test_what_is_not_markup_is_escaped() -> None:
    assert tag("p", "<b>", tag("b", "&"), title='"') == '<p title="&quot;">&lt;b&gt;<b>&amp;</b></p>'
    assert tag("meta", charset="utf-8", name=None) == '<meta charset="utf-8">'
    assert text("a\u202eb\ud800\x07") == "a�b��"
