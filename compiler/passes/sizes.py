"""Sizes as polynomials in named dims: what shape arithmetic computes, and when two results are the same."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass

Term = tuple[str, ...]  # the sorted factors of a product; () is the number 1


@dataclass(frozen=True)
class Size:
    """A sum of products of named dims with whole coefficients, in one order, so that equal sums compare equal."""

    terms: tuple[tuple[Term, int], ...]

    @staticmethod
    def of(value: int | str) -> Size:
        return _number(value) if isinstance(value, int) else _parsed(value)

    @property
    def number(self) -> int | None:
        """The size itself, where no name is in it."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and self.terms[0][0] == () else None

    @property
    def names(self) -> set[str]:
        return {name for term, _ in self.terms for name in term}

    def __str__(self) -> str:
        """As `of` reads it."""
        return " + ".join(_product_text(term, count) for term, count in self.terms) or "0"

    def __add__(self, other: Size) -> Size:
        total = dict(self.terms)
        for term, count in other.terms:
            total[term] = total.get(term, 0) + count
        return _sum(total)

    def __mul__(self, other: Size) -> Size:
        total: dict[Term, int] = {}
        for mine, count in self.terms:
            for theirs, factor in other.terms:
                term = tuple(sorted((*mine, *theirs)))
                total[term] = total.get(term, 0) + count * factor
        return _sum(total)

    def __sub__(self, other: Size) -> Size:
        return self + other * Size.of(-1)

    def divided(self, other: Size) -> Size | None:
        """The quotient by one product, where nothing is left over."""
        if len(other.terms) != 1:
            return None
        ((factors, by),) = other.terms
        total: dict[Term, int] = {}
        for term, count in self.terms:
            rest = list(term)
            for factor in factors:
                if factor not in rest:
                    return None
                rest.remove(factor)
            if count % by:
                return None
            total[tuple(rest)] = count // by
        return _sum(total)


def _product_text(term: Term, count: int) -> str:
    names = [name if name.isidentifier() else f"({name})" for name in term]
    return "*".join([str(count)] * (count != 1 or not names) + names)


def _sum(total: Mapping[Term, int]) -> Size:
    return Size(tuple(sorted((term, count) for term, count in total.items() if count)))


@functools.lru_cache(maxsize=4096)
def _number(value: int) -> Size:
    return _sum({(): value})


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Size:
    """An expression such as "2*seq + 1"; what is not made of + - * is a name of its own."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return _name(text)
    return _read(tree.body, text)


def _read(tree: ast.expr, text: str) -> Size:
    if isinstance(tree, ast.Name):
        return _name(tree.id)
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        return Size.of(tree.value)
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, (ast.Add, ast.Sub, ast.Mult)):
        left, right = _read(tree.left, text), _read(tree.right, text)
        if len(left.terms) * len(right.terms) <= _TERMS:
            return (
                left + right
                if isinstance(tree.op, ast.Add)
                else (left - right if isinstance(tree.op, ast.Sub) else left * right)
            )
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return Size.of(0) - _read(tree.operand, text)
    return _name(ast.unparse(tree))


_TERMS = 64  # a longer product stays as it is written


def _name(text: str) -> Size:
    return _sum({(text,): 1})
