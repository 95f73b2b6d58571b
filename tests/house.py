"""The code of the house as syntax trees: who imports whom, and which names are spoken."""

import ast
import dataclasses
import functools
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Import:
    """One name imported by a module: `target` is a module where there is one of that name, else its owner."""

    source: str
    target: str
    lazy: bool  # inside a function
    line: int

    def __str__(self):
        return f"{self.source}:{self.line} imports {self.target}"


@dataclasses.dataclass(frozen=True)
class Module:
    """A Python file of the repository."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self):
        return self.path.name == "__init__.py"


@functools.cache
def modules(*packages):
    """Every module of these packages by its dotted name."""
    files = sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))
    return {_name(file): Module(_name(file), file, ast.parse(file.read_text())) for file in files}


def _name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(*packages):
    """Every import in these packages, those inside functions too."""
    known = modules(*packages)
    return [found for module in known.values() for found in _imports_of(module, known)]


def _imports_of(module, known):
    lazy = {node for function in _functions(module.tree) for node in ast.walk(function)}
    for node in ast.walk(module.tree):
        for target in _targets(module, node, known):
            yield Import(module.name, target, node in lazy, node.lineno)


def _functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]


def _targets(module, node, known):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = _absolute(module, node)
    within = [f"{base}.{alias.name}" for alias in node.names]
    return [each if each in known else base for each in within]


def _absolute(module, node):
    if not node.level:
        return node.module
    parts = module.name.split(".")
    owner = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*owner, *([node.module] if node.module else [])])


def loaded_by(name, *packages):
    """Every module that importing `name` loads: what it imports outside of functions, their owners, and so on."""
    eager = {}
    for each in imports(*packages):
        if not each.lazy:
            eager.setdefault(each.source, set()).add(each.target)
    loaded, todo = set(), [name]
    while todo:
        current = todo.pop()
        if current not in loaded:
            loaded.add(current)
            todo += [*eager.get(current, ()), *([current.rpartition(".")[0]] if "." in current else [])]
    return loaded


def circles(graph):
    """The nodes of a graph {node: successors} that can reach themselves."""
    return sorted(node for node in graph if node in _reached(graph, graph[node]))


def _reached(graph, start):
    reached, todo = set(), list(start)
    while todo:
        node = todo.pop()
        if node not in reached:
            reached.add(node)
            todo += graph.get(node, ())
    return reached


def spoken(tree):
    """Every identifier and every string of a syntax tree but its docstrings: (line, text, whether a string)."""
    silent = {id(node) for node in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in silent:
                yield node.lineno, node.value, True
        else:
            yield from ((node.lineno, each, False) for each in _identifiers(node))


def _docstrings(tree):
    owners = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr):
            yield node.body[0].value


def _identifiers(node):
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.arg | ast.keyword):
        return [node.arg] if node.arg else []
    if isinstance(node, ast.Import | ast.ImportFrom):
        owner = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        return [part for name in owner + [alias.name for alias in node.names] for part in name.split(".")]
    return []
