"""The run-time type checker that the tests put on every function of the library."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

# An int passes for a float, as it does for a static type checker.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_with_shapes = jaxtyping.jaxtyped  # as it is before `install`


def install(package: str) -> None:
    """Have every function of `package` checked, once it is imported.

    At each call, the `jaxtyping.jaxtyped(typechecker=…)` of the import hook binds the arguments and checks them twice,
    so as to word its errors: half the time of what runs on the host. The type checker alone finds the same.
    """
    jaxtyping.jaxtyped = _jaxtyped
    jaxtyping.install_import_hook([package], "typechecking.check_functions")


def _jaxtyped(*given: Any, **named: Any) -> Any:
    return _with_shapes(*given, **named) if given else named["typechecker"]


def check_functions(function: Any) -> Any:
    """beartype on every function and method, but not on constructors.

    A pytree's constructor also runs when JAX rebuilds it: with a batch axis that the annotation does not know (outside
    a `vmap`), or with no arrays at all (`in_axes`, tree structures). The annotated shapes of a pytree's fields
    therefore hold for one cluster alone, and `tests/games/dlb/test_dlb_types.py` checks them there.
    """
    if inspect.isclass(function) or function.__name__ == "__init__":
        return function
    annotations = inspect.get_annotations(function).values()
    has_shapes = any(map(_has_shapes, annotations))
    checked: Callable = _with_shapes(_check(function), typechecker=None) if has_shapes else _check(function)

    @functools.wraps(function)
    def either(*given: Any, **named: Any) -> Any:
        return (function if jaxtyping.config.jaxtyping_disable else checked)(*given, **named)

    return either


def _has_shapes(annotation: Any) -> bool:
    """Whether an annotation is one of jaxtyping, or holds one; what is written as a string may."""
    if isinstance(annotation, str) or getattr(annotation, "__module__", "").startswith("jaxtyping"):
        return True
    if isinstance(annotation, list):  # the parameters of a Callable
        return any(map(_has_shapes, annotation))
    return any(map(_has_shapes, typing.get_args(annotation)))
