"""The run-time type checker that the tests put on every function of the library."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

# An int passes for a float, as it does for a static type checker.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check_functions(function: Callable) -> Callable:
    """beartype on every function and method, but not on constructors.

    A pytree's constructor also runs when JAX rebuilds it: with a batch axis that the annotation does not know (outside
    a `vmap`), or with no arrays at all (`in_axes`, tree structures). The annotated shapes of a pytree's fields
    therefore hold for one cluster alone, and `tests/games/dlb/test_dlb_types.py` checks them there.
    """
    return function if function.__name__ == "__init__" else _check(function)
