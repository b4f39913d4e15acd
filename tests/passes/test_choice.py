from __future__ import annotations

import onnx_ir as ir
import pytest

from compiler.errors import UsageError
from compiler.passes import pipeline
from compiler.passes.choice import check, chosen, name_of, parse


def names(text: str, **more: bool) -> list[str]:
    return [step.name for step in parse(text, **more).steps()]


def test_the_default_is_all_that_is_not_optional() -> None:
    assert names("default") == names("") == [step.name for step in pipeline.DEFAULT if not step.optional]


def test_one_may_be_left_out_wherever_it_stands() -> None:
    assert "remove-no-ops" in names("default")
    assert (
        names("default,-remove-no-ops")
        == names("-remove-no-ops")
        == [name for name in names("default") if name != "remove-no-ops"]
    )


def test_an_optional_one_joins_at_its_place() -> None:
    assert names("default,simplify")[-1] == "simplify"
    assert names("default", simplify=True)[-1] == "simplify"
    assert "simplify" not in names("default,-simplify", simplify=True)
    assert "simplify" not in names("infer-shapes", simplify=True)


def test_a_list_is_that_list_in_the_pipelines_order() -> None:
    assert list(dict.fromkeys(names("fold-scales, infer-shapes"))) == ["infer-shapes", "fold-scales"]
    assert names("none") == []


@pytest.mark.parametrize(("text", "hint"), [("default,-fold-scale", "fold-scales"), ("defualt", "default")])
def test_a_mistyped_name_gets_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(text, [])
    assert caught.value.code == "unknown-pass"
    assert hint in str(caught.value.hint)


class ScatterThis(ir.passes.InPlacePass):
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, modified=False)


def test_a_targets_own_passes_are_named_after_their_classes() -> None:
    check("default,-scatter-this", [name_of(ScatterThis())])
    assert [name for name, _ in chosen([ScatterThis()], parse("default"))] == ["scatter-this"]
    assert [name for name, _ in chosen([ScatterThis()], parse("none"))] == ["scatter-this"], "the target may need it"
    assert chosen([ScatterThis()], parse("default,-scatter-this")) == []
