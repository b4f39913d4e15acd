"""`compile inspect FILE_OR_BUNDLE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from compiler.cli import console
from compiler.cli.options import speaking
from compiler.errors import Exit, UsageError


@click.command()
@click.argument("path")
@click.option("--model", "factory", metavar="FILE.PY:NAME", help="what builds the module for a file of weights")
@click.option("--trust", is_flag=True, help="run code that comes with the model")
@click.option("--targets", is_flag=True, help="capture the model, and say what each target would make of it")
@click.option("--input", "-i", "input_specs", multiple=True, metavar="SPEC", help="an input to capture with: --targets")
@click.option("--translate", metavar="FILE.PY:TABLE", help="how operators of your own become ONNX: --targets")
@speaking
def inspect(
    path: str,
    factory: str | None,
    trust: bool,
    targets: bool,
    input_specs: tuple[str, ...],
    translate: str | None,
    **given: Any,
) -> int:
    """What is in a model file, a Hugging Face folder or a bundle."""
    if targets:
        request = {"factory": factory, "trust": trust, "translate": translate}
        return _targets(path, input_specs, request, **given)
    if input_specs or translate:
        raise UsageError("bad-option", "--input and --translate are read with --targets only", hint="add --targets")
    from compiler.frontend.detect import Format
    from compiler.frontend.open import format_of

    found = format_of(path)
    facts = _bundle(Path(path)) if found is Format.BUNDLE else _model(path, Format(found), factory, trust)
    if given["as_json"]:
        console.show_json(facts)
    else:
        _show(facts)
    return Exit.OK


def _targets(path: str, specs: tuple[str, ...], request: Mapping[str, Any], **given: Any) -> int:
    from compiler import api
    from compiler.report import coverage

    with console.progress(quiet=given["quiet"], as_json=given["as_json"]) as shown:
        operators, found = api.coverage(path, specs, **request, progress=shown)
    if given["as_json"]:
        console.show_json(coverage.to_json(operators, found))
    else:
        coverage.show(operators, found)
    return Exit.OK


def _bundle(folder: Path) -> dict[str, Any]:
    from compiler import bundle as bundles
    from compiler.errors import CompileError

    bundle = bundles.read(folder)
    try:
        bundles.check(bundle)
        whole = "every file is as it was sealed"
    except CompileError as error:
        whole = f"CHANGED: {error.why}"
    return {"format": "bundle", "path": str(folder), "integrity": whole, "manifest": dict(bundle.manifest)}


def _model(path: str, found: Any, factory: str | None, trust: bool) -> dict[str, Any]:
    from compiler.frontend import describe
    from compiler.frontend.program import Request

    return describe.model(Request(path, factory, trust), found)


def _show(facts: Mapping[str, Any]) -> None:
    from compiler.report import words

    if "manifest" in facts:
        from compiler.report import document

        click.echo(document.markdown(facts["path"], facts["manifest"]))
        click.echo(f"Integrity: {facts['integrity']}")
        return
    headings = {"suggested": "inputs, unless --input says otherwise"}
    for label, value in facts.items():
        if label in ("inputs", "suggested", "takes", "operators"):
            click.echo(f"{headings.get(label, label)}:")
            for line in value:
                click.echo(f"  {line}")
        elif label == "bytes":
            click.echo(f"size: {words.size(value)}")
        else:
            click.echo(f"{label}: {value}")
