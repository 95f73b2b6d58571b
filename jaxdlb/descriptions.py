"""Declared fields described in words, for tables in the documentation and for command-line help."""

import ast
import dataclasses
import functools
import inspect
import io
import itertools
import textwrap
import tokenize
from collections.abc import Mapping
from typing import Any

from jaxdlb.annotations import annotation_of, is_array, shape_of
from jaxdlb.checks import LARGEST_INT
from jaxdlb.parameters import Declaration, PerSize, declarations


@dataclasses.dataclass(frozen=True)
class Described:
    """A declared field, described in words."""

    name: str
    symbol: str  # what precedes the colon in its comment, as in "p: a task arrives"
    shape: str | None  # such as "[N]"; None if the field is not an array
    default: str
    allowed: str
    meaning: str


def describe(type_: Any) -> list[Described]:
    """Describe every declared field of a dataclass; the meaning is the comment on its line."""
    comments = meanings(type_)
    return [_described(type_, name, each, comments.get(name, "")) for name, each in declarations(type_).items()]


def describe_laws(declaration: Declaration) -> dict[str, list[Described]]:
    """The fields of every law that a parameter may follow, by kind; defaults are those that hold for the parameter."""
    return {kind: _of_law(law, declaration.default) for kind, law in (declaration.laws or {}).items()}


def _of_law(law: type, default: Any) -> list[Described]:
    described = describe(law)
    if type(default) is not law:
        return described
    own = declarations(default)
    held = {name: dataclasses.replace(each, default=getattr(default, name)) for name, each in own.items()}
    return [dataclasses.replace(each, default=_default_text(held[each.name])) for each in described]


def meanings(type_: Any) -> dict[str, str]:
    """For each field of a dataclass, the comment on its line or on the lines above; {} if the source is unavailable."""
    bases = reversed([base for base in inspect.getmro(type_) if dataclasses.is_dataclass(base)])
    return functools.reduce(lambda found, base: found | _comments(base), bases, {})


def _described(type_: Any, name: str, declaration: Declaration, comment: str) -> Described:
    annotation = annotation_of(type_, name)
    symbol, colon, meaning = comment.partition(": ")
    if not colon or " " in symbol:
        symbol, meaning = "", comment
    return Described(
        name=name,
        symbol=symbol,
        shape=f"[{', '.join(shape_of(annotation))}]" if is_array(annotation) else None,
        default=_default_text(declaration),
        allowed=_allowed_text(declaration),
        meaning=meaning,
    )


def _default_text(declaration: Declaration) -> str:
    default = declaration.default
    if default is dataclasses.MISSING:
        return ""
    if declaration.laws is not None:
        return declaration.default_kind if isinstance(default, type) else _law_text(declaration)
    if isinstance(default, PerSize):
        return default.text
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    return (
        str(list(default))
        if isinstance(default, tuple)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


def _law_text(declaration: Declaration) -> str:
    """A law with its fields, as in "exponential(average=0.01)"."""
    fields = {field.name: getattr(declaration.default, field.name) for field in dataclasses.fields(declaration.default)}
    return f"{declaration.default_kind}({', '.join(f'{name}={value:g}' for name, value in fields.items())})"


def _allowed_text(declaration: Declaration) -> str:
    allowed = declaration.allowed
    if declaration.laws is not None:
        return "a law: " + ", ".join(declaration.laws)
    if allowed is None:
        return ""
    if isinstance(allowed, tuple):
        return ", ".join(allowed)
    if declaration.at_most is not None:
        return f"an integer in [{allowed.low:g}, {declaration.at_most}]"
    text = f"an integer ≥ {allowed.low:g}" if allowed.integer and allowed.high == LARGEST_INT else str(allowed)
    return text.removeprefix("a finite number in ").removeprefix("a finite number ")


def _comments(type_: type) -> dict[str, str]:
    """The comments beside the fields in one class's own source or, failing that, on the lines directly above."""
    try:
        source = textwrap.dedent(inspect.getsource(type_))
        (definition,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(definition, ast.ClassDef)
    texts, alone = _comments_by_line(source)
    fields = [line for line in definition.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
    found = {ast.unparse(field.target): _comment_of(field, texts, alone) for field in fields}
    return {name: comment for name, comment in found.items() if comment}


def _comment_of(field: ast.AnnAssign, texts: Mapping[int, str], alone: set[int]) -> str:
    lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
    above = itertools.takewhile(lambda line: line in alone, itertools.count(field.lineno - 1, -1))
    beside = [texts[line] for line in lines if line in texts]
    return " ".join(beside or [texts[line] for line in reversed(list(above))])


def _comments_by_line(source: str) -> tuple[dict[int, str], set[int]]:
    """The text of each comment by line number, and the lines that hold nothing but a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    texts = {token.start[0]: token.string.lstrip("# ").strip() for token in comments}
    return texts, {token.start[0] for token in comments if token.line.lstrip().startswith("#")}
