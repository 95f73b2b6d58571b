"""The matrix products of a program: how many operations they are, and how long they take by themselves."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from benchmarks.timing import Timing


@dataclasses.dataclass(frozen=True)
class Product:
    """One `dot_general` by its shapes, of which all that matters to its speed follows."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    dimension_numbers: Any
    dtype: str

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        (_, right_contracted), (_, right_batch) = self.dimension_numbers
        free = [size for axis, size in enumerate(self.right) if axis not in (*right_contracted, *right_batch)]
        return 2 * math.prod(self.left) * math.prod(free)

    def alone(self) -> Callable[[], Any]:
        """The product of random matrices as a run to be timed."""
        keys = jax.random.split(jax.random.key(0))
        shapes = (self.left, self.right)
        operands = [jax.random.normal(*pair).astype(self.dtype) for pair in zip(keys, shapes, strict=True)]
        product = jax.jit(lambda left, right: jax.lax.dot_general(left, right, self.dimension_numbers))
        return lambda: product(*operands)


def products_of(function: Callable[..., Any], *arguments: Any) -> Counter[Product]:
    """Every matrix product that `function` makes of `arguments`, and how often; those in a `scan` once a step."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: core.Jaxpr) -> Counter[Product]:
    found: Counter[Product] = Counter()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            avals: list[Any] = [variable.aval for variable in equation.invars]
            left, right = avals
            numbers = equation.params["dimension_numbers"]
            found[Product(left.shape, right.shape, numbers, str(jnp.dtype(left.dtype)))] += 1
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for inner in _inner(equation.params):
            found.update({product: times * count for product, count in _count(inner).items()})
    return found


def _inner(params: Mapping[str, Any]) -> list[core.Jaxpr]:
    """The programs within an equation."""
    values = [value for entry in params.values() for value in (entry if isinstance(entry, tuple) else (entry,))]
    programs = [value.jaxpr if isinstance(value, core.ClosedJaxpr) else value for value in values]
    return [program for program in programs if isinstance(program, core.Jaxpr)]


def total_flops(products: Counter[Product]) -> int:
    """Of all products together."""
    return sum(product.flops * count for product, count in products.items())


def seconds_alone(products: Counter[Product], timings: Mapping[Product, Timing]) -> Timing:
    """What all products would take if a program did nothing else, repeat by repeat."""
    repeats = zip(*(timings[product].seconds for product in products), strict=True)
    counts = list(products.values())
    return Timing(tuple(sum(count * seconds for count, seconds in zip(counts, each, strict=True)) for each in repeats))
