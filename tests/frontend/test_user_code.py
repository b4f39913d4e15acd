"""What is kept of somebody else's message."""

from __future__ import annotations

import pytest

from compiler.frontend.user_code import first_lines

DUMP = """graph():
    %x : [num_users=1] = placeholder[target=x]
    return (x,)"""


@pytest.mark.parametrize(
    "text",
    [
        f"Cannot handle this.\n{DUMP}",
        f"{DUMP}\n",
        f"Cannot handle this.\n\nWhile executing %add : [num_users=1]\n{DUMP}",
        "Cannot handle this.\nclass GraphModule(torch.nn.Module):\n    def forward(self, x):\n        return x",
        'Cannot handle this.\nTraceback (most recent call last):\n  File "x.py", line 3',
    ],
)
def test_graphs_and_traces_are_left_out(text: str) -> None:
    shown = first_lines(ValueError(text))
    assert "%" not in shown
    assert "forward" not in shown
    assert "Traceback" not in shown
    assert shown.startswith("ValueError")
    assert ("Cannot handle this." in shown) == text.startswith("Cannot")


def test_the_root_of_a_chain_speaks() -> None:
    error = RuntimeError("outer")
    error.__cause__ = KeyError("inner")
    assert first_lines(error) == "KeyError: 'inner'"


def test_a_long_message_is_cut() -> None:
    assert len(first_lines(ValueError("x" * 9000))) == 400
