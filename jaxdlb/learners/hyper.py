"""Hyper-parameters as arrays of a learner's state, so that they may be swept; schedules and optimisers from them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Scalar = Float[Array, ""] | float
Sweepable = TypeVar("Sweepable")

OPTIMISERS: Mapping[str, Callable[[Any], optax.GradientTransformation]] = {
    "adam": functools.partial(optax.adam, eps=1e-5),
    "sgd": optax.sgd,
}


def sweepable(config: Any, kind: type[Sweepable]) -> Sweepable:
    """The part of `config` that its base class `kind` declares, as float32 scalars."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: jnp.float32(getattr(config, name)) for name in names})


def anneal(hyper: Any, name: str, num_updates: Int[Array, ""], power: Scalar = 1.0) -> Float[Array, ""]:
    """A schedule from the hyper-parameter to its `final_…`, over `schedule_updates` updates.

    What is left of the difference is (1 − progress)^power: it falls linearly with a power of 1, earlier with a higher.
    """
    progress = jnp.clip(num_updates / hyper.schedule_updates, 0, 1)
    done = jnp.where(jnp.equal(power, 1.0), progress, 1 - (1 - progress) ** power)  # linear to the last bit
    start, end = getattr(hyper, name), getattr(hyper, f"final_{name}")
    return start + done * (end - start)


def clipped(kind: str, rate: Scalar, max_grad_norm: Scalar) -> optax.GradientTransformation:
    """One of `OPTIMISERS` on gradients clipped by their norm; made where it is used, since its settings are arrays."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), OPTIMISERS[kind](rate))
