"""Functions on their way to other processes, and what these run of a chunk."""

import contextlib
import functools
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jaxdlb.checks import check_type, shown


class Sent:
    """A function as other processes get it, which need not have what it is made of installed.

    Raises:
        ValueError: it cannot be sent.
    """

    def __init__(self, function: Callable[..., Any], *, by_value: ModuleType | None = None) -> None:
        import cloudpickle

        check_type("function", function, Callable, "a function")  # type: ignore[arg-type]
        try:
            with contextlib.ExitStack() as stack:
                if by_value is not None:
                    cloudpickle.register_pickle_by_value(by_value)
                    stack.callback(cloudpickle.unregister_pickle_by_value, by_value)
                self._pickled = cloudpickle.dumps(function)
        except Exception as error:
            raise ValueError(
                f"function is {shown(function)}; it must be one that can be sent to other processes ({error})"
            ) from None

    def __call__(self, *given: Any) -> Any:
        raise AssertionError("what arrives is the function itself")

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)


@functools.cache
def sent_compute() -> Sent:
    """What workers run of this library, by value: they need not have it."""
    return Sent(_compute, by_value=sys.modules[__name__])


def _compute(function: Any, tasks: Any, turns: int, chunk: str) -> tuple[list[Any], float, str | None]:
    """On a worker: the results, how long they took, and what failed."""
    import time
    import traceback

    import distributed

    known = distributed.get_worker().state.tasks
    results: list[Any] = []
    began = time.perf_counter()
    for task in tasks:
        try:
            for _ in range(turns):
                result = function(task)
        except Exception:
            return results, time.perf_counter() - began, traceback.format_exc()
        results.append(result)
        if chunk not in known or known[chunk].state == "cancelled":
            break
    return results, time.perf_counter() - began, None
