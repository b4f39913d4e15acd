from __future__ import annotations

import onnx_ir as ir
import pytest

from compiler.ir.provenance import NAME_SCOPES, ORIGINS, STACK_TRACE, Provenance, describe, inherit, origins, provenance

SITE = "/venv/lib/python3.11/site-packages"
STACK = f"""\
File "/home/me/run.py", line 3, in <module>
    model(x)
  File "{SITE}/transformers/models/bert/modeling_bert.py", line 312, in forward
    h = self.norm(h)
  File "{SITE}/torch/nn/modules/normalization.py", line 228, in forward
    return F.layer_norm("""


def node(op_type: str = "Attention", name: str = "node_12", **metadata: str) -> ir.Node:
    keys = {"scopes": NAME_SCOPES, "stack": STACK_TRACE, "origins": ORIGINS}
    return ir.Node("", op_type, [], name=name, metadata_props={keys[key]: text for key, text in metadata.items()})


def scopes(module: str) -> str:
    return repr(["", "encoder", module, "aten_op"])


def test_the_innermost_frame_that_is_not_torchs_own() -> None:
    found = provenance(node(scopes=scopes("encoder.layer.3"), stack=STACK))
    assert found is not None
    assert (found.module, found.file, found.line, found.code) == (
        "encoder.layer.3",
        "modeling_bert.py",
        312,
        "h = self.norm(h)",
    )


def test_a_node_in_words() -> None:
    assert describe(node(scopes=scopes("encoder.layer.3"), stack=STACK)) == (
        "Attention node_12, from encoder.layer.3 (modeling_bert.py:312)"
    )
    assert describe(node(scopes=repr(["", "aten_op"]), stack=STACK)) == "Attention node_12, from modeling_bert.py:312"
    assert describe(node(scopes=scopes("head"))) == "Attention node_12, from head"
    assert describe(node()) == "Attention node_12"
    assert describe(node(name="")) == "Attention"


@pytest.mark.parametrize(
    ("path", "is_torch"),
    [
        (f"{SITE}/torch/nn/functional.py", True),
        (f"{SITE}/torch/_dynamo/eval_frame.py", True),
        ("torch/nn/modules/linear.py", True),
        ("C:\\venv\\Lib\\site-packages\\torch\\nn\\modules\\linear.py", True),
        ("/home/me/torch/model.py", False),
        ("/home/me/pytorch_models/nn.py", False),
        (f"{SITE}/torchvision/models/resnet.py", False),
    ],
)
def test_which_files_are_torchs(path: str, is_torch: bool) -> None:
    found = provenance(node(scopes=scopes("head"), stack=f'File "{path}", line 7, in forward\n    x'))
    assert found is not None
    assert (found.line == 0) == is_torch


def test_the_torchscript_exporter_names_nodes_after_modules() -> None:
    assert describe(node("MatMul", "/encoder/layer.0/attention/MatMul_1")).endswith("from encoder.layer.0.attention")
    assert provenance(node("MatMul", "MatMul_1")) is None


def test_no_module_is_made_up() -> None:
    """torch's own word for "from no module", which it writes for the nodes that read an input's size."""
    made_up = scopes("_empty_nn_module_stack_from_metadata_hook")
    assert describe(node("Shape", scopes=made_up)) == "Shape node_12"
    assert describe(node("Shape", scopes=made_up, stack=STACK)) == "Shape node_12, from modeling_bert.py:312"


def test_a_replacement_inherits() -> None:
    old, new = node(scopes=scopes("a.b"), stack=STACK), ir.Node("", "Add", [])
    inherit([new], [old])
    assert origins(new) == origins(old)
    assert describe(new) == "Add, from a.b (modeling_bert.py:312)"


def test_a_fused_node_carries_the_union() -> None:
    old = [node(scopes=scopes(f"layer.3.self.{name}"), stack=STACK) for name in ("query", "key", "query")]
    new = ir.Node("", "Attention", [])
    inherit([new], [*old, node("Cast")])
    assert [origin.module for origin in origins(new)] == ["layer.3.self.query", "layer.3.self.key"]
    found = provenance(new)
    assert found is not None
    assert found.module == "layer.3.self"
    again = ir.Node("", "Fused", [])
    inherit([again], [new, node(scopes=scopes("layer.4"))])
    assert len(origins(again)) == 3
    assert "from layer (" in describe(again)


def test_a_node_that_stays_is_not_its_own_heir() -> None:
    kept = node(scopes=scopes("a"))
    before = dict(kept.metadata_props)
    inherit([kept], [kept, node(scopes=scopes("b"))])
    assert kept.metadata_props == before


@pytest.mark.parametrize("text", ["", "nonsense(", "{'a': 1}", "['']", "None", "[1, 2]"])
def test_metadata_of_others_may_be_anything(text: str) -> None:
    describe(node(scopes=text, stack=text))
    describe(node(origins=text))


def test_fields_that_are_empty_may_be_left_away() -> None:
    assert origins(node(origins='[{"module": "a"}]')) == (Provenance("a"),)
