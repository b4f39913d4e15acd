"""What is added after two Transposes is added before one."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.join_transposes import JoinTransposes

INTERFACE = "(float[b,3,4] x, float[b,3,4] z) => (float[4,b,3] y)"
BOTH = "u = Transpose<perm=[2,0,1]>(x) v = Transpose<perm=[2,0,1]>(z) "


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Max"])
def test_two_transposes_become_one(operator: str) -> None:
    before = f"{INTERFACE} {{ {BOTH} y = {operator}(u, v) }}"
    check_pass(JoinTransposes(), before, f"{INTERFACE} {{ t = {operator}(x, z) y = Transpose<perm=[2,0,1]>(t) }}")


def test_what_is_stretched_stays_so() -> None:
    interface = INTERFACE.replace("float[b,3,4] z", "float[1,3,1] z")
    after = f"{interface} {{ t = Add(x, z) y = Transpose<perm=[2,0,1]>(t) }}"
    check_pass(JoinTransposes(), f"{interface} {{ {BOTH} y = Add(u, v) }}", after)


def test_one_of_them_may_have_other_users() -> None:
    interface = INTERFACE.replace("y)", "y, float[4,b,3] w)")
    after = f"{interface} {{ u = Transpose<perm=[2,0,1]>(x) t = Add(x, z) y = Transpose<perm=[2,0,1]>(t) w = Neg(u) }}"
    check_pass(JoinTransposes(), f"{interface} {{ {BOTH} y = Add(u, v) w = Neg(u) }}", after)


@pytest.mark.parametrize(
    "graph",
    [
        f"{INTERFACE.replace('y)', 'y, float[4,b,3] w)')} {{ {BOTH} y = Add(u, v) w = Mul(u, v) }}",
        "(float[3,3,3] x, float[3,3,3] z) => (float[3,3,3] y) "
        "{ u = Transpose<perm=[2,0,1]>(x) v = Transpose<perm=[1,0,2]>(z) y = Add(u, v) }",
        f"{INTERFACE} {{ u = Transpose<perm=[2,0,1]>(x) y = Add(u, u) }}",
        f"{INTERFACE.replace('float[b,3,4] z', 'float[3,4] z')} "
        "{ u = Transpose<perm=[2,0,1]>(x) v = Transpose<perm=[1,0]>(z) s = ReduceSum<keepdims=0>(v) y = Add(u, s) }",
    ],
)
def test_others_are_left_alone(graph: str) -> None:
    check_unchanged(JoinTransposes(), graph)
