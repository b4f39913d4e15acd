"""Factories: "file.py:name" or "package.module:name", the user's own code that builds a model."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from compiler.errors import CompileError, UnavailableError, UsageError, did_you_mean
from compiler.frontend.detect import is_factory_reference, no_such_file
from compiler.frontend.loaders.settle import settled
from compiler.frontend.user_code import user_code

if TYPE_CHECKING:
    import torch

_OUR_PACKAGES = ("compiler", "backends")
_OUR_FOLDER = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Built:
    """What a factory returned: the module, with at most one of input specs and example inputs."""

    module: torch.nn.Module
    specs: tuple[str, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def load_factory(reference: str) -> Callable[[], Any]:
    """The callable that "file.py:name" or "package.module:name" names; its file is imported for that."""
    value: Any = load_named(reference)
    if not callable(value):
        origin, _, name = reference.rpartition(":")
        raise UsageError(
            "not-callable",
            f"'{name}' in {origin} cannot be called",
            why=f"it is a {type(value).__name__}",
            hint="name a function or class that returns the nn.Module",
        )
    return value


def load_named(reference: str) -> Any:
    """Whatever "file.py:name" or "package.module:name" names."""
    if not is_factory_reference(reference):
        raise UsageError(
            "bad-factory", f"{reference!r} names no factory", hint="write file.py:name or package.module:name"
        )
    origin, _, name = reference.rpartition(":")
    module = _load_file(Path(origin)) if origin.endswith(".py") else _import_module(origin)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            names = [entry for entry in vars(value) if not entry.startswith("_")]
            raise UsageError(
                "no-such-factory",
                f"{origin} has no '{part}'",
                where=str(module.__file__),
                hint=did_you_mean(part, names) or f"it defines {', '.join(_defined(module)) or 'nothing'}",
            )
        value = getattr(value, part)
    return value


def _defined(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise no_such_file(path)
    path = path.resolve()
    _refuse_shadowed_imports(path)
    # A private name: a user's file may be called like a package of ours, or like one of Python's.
    name = f"_plumbline_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError("bad-factory", f"{path} cannot be imported", hint="it must be a Python file")
    module = importlib.util.module_from_spec(spec)
    add_to_search_path(path.parent)
    sys.modules[name] = module
    try:
        with _importing(str(path)):
            spec.loader.exec_module(module)
    except CompileError:
        del sys.modules[name]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    add_to_search_path(Path.cwd())
    top = name.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is None:
        near = [entry.stem for entry in Path.cwd().iterdir() if entry.is_dir() or entry.suffix == ".py"]
        raise UsageError(
            "no-such-module",
            f"there is no module '{top}'",
            why=f"neither {Path.cwd()} nor the installed packages have it",
            hint=did_you_mean(top, near) or "give the file instead: path/to/file.py:name",
        )
    places = {Path(place).resolve() for place in (found.submodule_search_locations or [found.origin or ""])}
    here = {place.resolve() for place in (Path(top), Path(f"{top}.py")) if place.exists()}
    if here and not here & places:
        raise UsageError(
            "ambiguous-module",
            f"there are two modules '{top}'",
            why=f"{here.pop()} is hidden by {sorted(map(str, places))[0]}",
            hint=f"give the file instead: {name.replace('.', '/')}.py:name",
        )
    with _importing(name):
        return importlib.import_module(name)


def add_to_search_path(folder: Path) -> None:
    """At the end, so that it hides nothing; and to stay, because models import more while they are built and run."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _refuse_shadowed_imports(path: Path) -> None:
    """A user's own `compiler` or `backends` beside the file would silently become ours."""
    shadowed = {
        name
        for name in _OUR_PACKAGES
        if ((path.parent / name).is_dir() or (path.parent / f"{name}.py").is_file()) and path.parent != _OUR_FOLDER
    }
    if not shadowed:
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # importing it will say so better
    for line, name in _imports(tree):
        if name.partition(".")[0] in shadowed:
            raise UsageError(
                "ambiguous-module",
                f"'{name}' would be this tool's own package, not yours",
                where=f"{path}:{line}",
                hint=f"rename {path.parent / name.partition('.')[0]}",
            )


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


@contextmanager
def _importing(what: str) -> Iterator[None]:
    hint = "it must be importable on its own: python -c 'import ...' shows the same error"
    with user_code("factory-import-failed", f"{what} fails while it is imported", hint), _no_exit(what):
        try:
            yield
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            extra = "pip install 'plumbline[compile]'"
            raise UnavailableError("missing-extra", f"{what} needs torch", why=str(error), hint=extra) from error


@contextmanager
def _no_exit(what: str) -> Iterator[None]:
    try:
        yield
    except SystemExit as error:
        raise CompileError(
            "factory-import-failed",
            f"{what} ends the program",
            why=f"it calls exit({error.code!r})",
            hint='put what a script does under: if __name__ == "__main__":',
        ) from error


def build_from_factory(factory: Callable[[], Any]) -> Built:
    """Call the factory. It returns a module; or a module with input specs; or a module with example inputs."""
    import torch

    if isinstance(factory, torch.nn.Module):
        return Built(settled(factory))
    _check_arguments(factory)
    name = getattr(factory, "__qualname__", repr(factory))
    with user_code("factory-raised", f"{name}() raised"), _no_exit(f"{name}()"):
        result = factory()
    module, *rest = result if isinstance(result, tuple) and result else (result,)
    if not isinstance(module, torch.nn.Module) or len(rest) > 2:
        raise CompileError(
            "factory-result",
            f"{name}() returned no nn.Module",
            where=_defined_at(factory),
            why=f"it returned {_described(result)}",
            hint='return module, or (module, ["x:float32[1,3]"]), or (module, (x,)), or (module, {"x": x})',
        )
    return _built(settled(module), rest, name)


def _built(module: torch.nn.Module, rest: list[Any], name: str) -> Built:
    import torch

    match rest:
        case []:
            return Built(module)
        case [str() as spec]:
            return Built(module, specs=(spec,))
        case [(list() | tuple()) as items] if items and all(isinstance(item, str) for item in items):
            return Built(module, specs=tuple(items))
        case [(list() | tuple()) as items]:
            return Built(module, args=tuple(items))
        case [Mapping() as kwargs]:
            return Built(module, kwargs=dict(kwargs))
        case [torch.Tensor() as tensor]:
            return Built(module, args=(tensor,))
        case [(list() | tuple()) as items, Mapping() as kwargs]:
            return Built(module, args=tuple(items), kwargs=dict(kwargs))
    raise CompileError(
        "factory-result",
        f"what {name}() returned beside the module is neither specs nor example inputs",
        why=f"it is {', '.join(map(_described, rest))}",
        hint='return (module, ["x:float32[1,3]"]), or (module, (x,)), or (module, {"x": x})',
    )


def _check_arguments(factory: Callable[[], Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # some builtins have none; calling it will tell
    required = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise UsageError(
            "factory-arguments",
            f"the factory {getattr(factory, '__qualname__', factory)} needs arguments",
            where=_defined_at(factory),
            why=f"{', '.join(required)} have no default, and it is called without any",
            hint="write a function without arguments that calls it",
        )


def _defined_at(factory: Callable[[], Any]) -> str | None:
    try:
        return f"{inspect.getsourcefile(factory)}:{inspect.getsourcelines(factory)[1]}"
    except (OSError, TypeError):
        return None


def _described(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_described, value))})"
    return "None" if value is None else f"a {type(value).__name__}"
