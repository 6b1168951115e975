"""What the sources say: where `mls` refuses something, and which tests claim to make it do so.

Both are read from the syntax, not from running anything, so that a refusal nobody reaches is still seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Site:
    """One `raise PeerError("VAL-...")`."""

    rule: str
    module: str
    function: str
    nth: int
    """Counted from 1 among all such statements of the module, in the order of the text."""

    @property
    def place(self) -> str:
        return f"{self.module}:{self.function}"

    @property
    def label(self) -> str:
        return f"{self.rule} in {self.place} (refusal {self.nth} of the module)"


@dataclass(frozen=True, slots=True)
class Test:
    """A function marked with `breaks`."""

    path: Path
    name: str
    rules: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.path.stem}::{self.name}"


class SourceError(Exception):
    """A source does not keep to the form that this package can read."""


def rule_of(node: ast.stmt) -> str | None:
    """The rule that a statement says was broken, if it is such a refusal."""
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
        return None
    call = node.exc
    if not isinstance(call.func, ast.Name) or call.func.id != "PeerError":
        return None
    first = call.args[0] if call.args else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        raise SourceError(f"line {node.lineno}: PeerError needs the number of a rule, as it stands")
    return first.value


def _refusals(node: ast.AST, function: str) -> Iterator[tuple[str, str, int]]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{function}.{child.name}" if function else child.name
        if isinstance(child, ast.stmt):
            rule = rule_of(child)
            if rule is not None:
                yield rule, inside, child.lineno
        yield from _refusals(child, inside)


def module_paths() -> dict[str, Path]:
    """The modules of `mls`, by name."""
    found = {}
    for path in sorted((ROOT / "mls").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@lru_cache(maxsize=1)
def sites() -> tuple[Site, ...]:
    """Every refusal in `mls`, by module and place."""
    found = []
    for module, path in module_paths().items():
        try:
            refusals = sorted(_refusals(ast.parse(path.read_text()), ""), key=lambda refusal: refusal[2])
        except SourceError as error:
            raise SourceError(f"{path.relative_to(ROOT)}: {error}") from None
        for nth, (rule, function, _) in enumerate(refusals, 1):
            found.append(Site(rule, module, function, nth))
    return tuple(found)


def strays() -> list[str]:
    """PeerErrors that are made but not raised on the spot: no mutant can disable those."""
    found = []
    for module, path in module_paths().items():
        tree = ast.parse(path.read_text())
        raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "PeerError"
                and id(node) not in raised
            ):
                found.append(f"{module}, line {node.lineno}")
    return found


def _marks(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    rules: list[str] = []
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "breaks":
            for argument in decorator.args:
                if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                    raise SourceError(f"{node.name}: `breaks` takes numbers of rules as they stand")
                rules.append(argument.value)
    return tuple(rules)


@lru_cache(maxsize=1)
def tests() -> tuple[Test, ...]:
    """Every test that is marked with `breaks`."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "breaks" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                rules = _marks(node)
                if rules:
                    found.append(Test(path, node.name, rules))
    return tuple(found)


@lru_cache(maxsize=1)
def test_files() -> dict[str, str]:
    """In which file a test is, by its name."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE):
            found[name] = path.stem
    return found


def defined(place: str) -> bool:
    """Whether `module:name` names something that is there."""
    module, _, name = place.partition(":")
    path_of = module_paths().get(module)
    if path_of is None:
        return False
    node: ast.AST = ast.parse(path_of.read_text())
    for part in name.split("."):
        for child in ast.iter_child_nodes(node):
            targets = [child.target] if isinstance(child, ast.AnnAssign) else getattr(child, "targets", [])
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if getattr(child, "name", None) == part or part in names:
                node = child
                break
        else:
            return False
    return True
