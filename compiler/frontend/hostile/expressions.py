"""The formulas in a program file. torch hands them to Python's eval, so they may be arithmetic and nothing else."""

from __future__ import annotations

import ast
import re

# The longest guard of a large dynamic model is a few hundred characters.
MAX_LENGTH = 20_000
# Powers of powers take for ever to multiply out.
MAX_EXPONENT = 64

# What sympy's and torch's printers write, and what they have in scope where it is evaluated.
_FUNCTIONS = frozenset(
    {
        "FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv",
        "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat",
        "IsNonOverlappingAndDenseIndicator", "RShift", "Identity", "Add", "Mul", "Integer", "Rational", "Max", "Min",
        "Abs", "sign", "floor", "ceiling", "sqrt", "exp", "log", "Piecewise", "ExprCondPair", "ITE",
        "Equality", "Unequality", "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan",
        "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Xor", "Infinity", "NegativeInfinity",
        "max", "min", "abs", "int", "float", "bool", "round", "cast_symbool_to_symint_guardless",
    }
)  # fmt: skip
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift"})
_SIZES = frozenset({"size", "stride", "storage_offset", "dim"})
_LIBRARY = re.compile(r"math\.(ceil|floor|trunc|sqrt|isnan|inf)|torch\.sym_\w+")
_OPAQUE = re.compile(r"OpaqueUnaryFn_\w+")
_KEY = re.compile(r"[\w.\-]*")
_NUMBER = re.compile(r"-?[\d.]{1,40}(e[+-]?\d{1,3})?")


def is_arithmetic(text: str, *, over_inputs: bool = False) -> bool:
    """Whether this is arithmetic in named numbers; `over_inputs`, also in sizes such as L['x'].size()[0]."""
    if len(text) > MAX_LENGTH or "\n" in text:
        return False
    try:
        return _is_arithmetic(ast.parse(text, mode="eval").body, over_inputs)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_arithmetic(node: ast.AST, over_inputs: bool) -> bool:
    inner: list[ast.expr]
    match node:
        case ast.Name() | ast.Constant(value=bool() | int() | float()):
            return True
        case ast.Call(func=ast.Name(id="Symbol" | "Dummy"), args=[ast.Constant(value=str() as name)]):
            return name.isidentifier() and _are_flags(node.keywords)
        case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str() as number)]):
            return _NUMBER.fullmatch(number) is not None and _are_flags(node.keywords)
        case ast.Call(func=ast.Name(id=name), args=[base, exponent], keywords=[]) if name in _POWERS:
            if not _is_small_power(base, exponent):
                return False
            inner = [base, exponent]
        case ast.Call(func=ast.Name(id=name), args=inner, keywords=[]):
            if name not in _FUNCTIONS and not _OPAQUE.fullmatch(name):
                return False
        case ast.BinOp(left=left, op=operator, right=right):
            if isinstance(operator, ast.Pow | ast.LShift) and not _is_small_power(left, right):
                return False
            inner = [left, right]
        case ast.UnaryOp(operand=operand):
            inner = [operand]
        case ast.BoolOp(values=inner) | ast.Tuple(elts=inner):
            pass
        case ast.Compare(left=left, comparators=others):
            inner = [left, *others]
        case _:
            return over_inputs and _is_size(node)
    return all(_is_arithmetic(part, over_inputs) for part in inner)


def _is_size(node: ast.AST) -> bool:
    """An input, a part of one, its size; or a function of math's or torch's."""
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=str() as key)):
            # The key reappears within quotes in generated code.
            return _KEY.fullmatch(key) is not None and _is_arithmetic(value, True)
        case ast.Subscript(value=value, slice=ast.Constant(value=int())):
            return _is_arithmetic(value, True)
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments, keywords=[]):
            if isinstance(value, ast.Name) and _LIBRARY.fullmatch(f"{value.id}.{name}"):
                return all(_is_arithmetic(argument, True) for argument in arguments)
            return name in _SIZES and not arguments and _is_arithmetic(value, True)
        case ast.Attribute(value=ast.Name(id="math"), attr="inf"):
            return True
    return False


def _are_flags(keywords: list[ast.keyword]) -> bool:
    return all(isinstance(flag.value, ast.Constant) and isinstance(flag.value.value, int) for flag in keywords)


def _is_small_power(base: ast.expr, exponent: ast.expr) -> bool:
    towers = any(
        isinstance(part, ast.Pow | ast.LShift) or (isinstance(part, ast.Name) and part.id in _POWERS)
        for part in ast.walk(base)
    )
    return not towers and _is_small(exponent)


def _is_small(exponent: ast.expr) -> bool:
    match exponent:
        case ast.Constant(value=int() as number):
            return number <= MAX_EXPONENT
        case ast.UnaryOp(operand=operand) | ast.Call(func=ast.Name(id="Integer"), args=[operand]):
            return _is_small(operand)
        case ast.Call(func=ast.Name(id="Rational"), args=[above, below]):
            return _is_small(above) and _is_small(below)
        case ast.Name() | ast.Call(func=ast.Name(id="Symbol")):
            return True
    return False
