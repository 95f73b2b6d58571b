"""How a learner's state is spread over devices: members of a population where these divide them, else environments.

Members (seeds, or a population) never wait for one another, so that their axis costs no communication. Environments
share parameters: these are held by every device, and gradients and statistics are summed over all of them, which the
compiler adds to the very same program (`jax.jit` with `NamedSharding`). What a device computes from its share does not
depend on how many there are; only sums round differently.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxdlb.learners.population import Function, Mapper, in_turn

AXIS = "env"  # of the mesh
_NONE = -1  # no axis of a leaf


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the leaves of a state lie."""

    mesh: Mesh
    state: PyTree  # a NamedSharding for each leaf
    metrics: NamedSharding  # of updates, [K] or [K, members]

    @property
    def everywhere(self) -> NamedSharding:
        """A copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def made(self, init: Callable[[], PyTree]) -> PyTree:
        """The state that `init` makes, each device its part."""
        return jax.jit(init, out_shardings=self.state)()

    def placed(self, state: PyTree) -> PyTree:
        """A state that every process holds whole, each device its part."""
        return jax.device_put(state, self.state)

    def fetched(self, tree: PyTree) -> PyTree:
        """The whole of a tree that is spread over devices, on the host of every process, which must all ask for it."""
        return jax.tree.map(self._whole, tree)

    def _whole(self, leaf: jax.Array) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._whole(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(self._gather(leaf))

    @functools.cached_property
    def _gather(self) -> Callable[[jax.Array], jax.Array]:
        """Leaf by leaf, so that no device ever holds more than its part and one whole leaf."""
        return jax.jit(lambda leaf: leaf, out_shardings=self.everywhere)


def place(learner: Any, num_members: int, devices: Sequence[jax.Device]) -> Placement:
    """The state of `num_members` members, a leading axis of its leaves if there are several, spread over `devices`.

    Raises:
        ValueError: neither members nor environments can be dealt out evenly.
    """
    check(learner, num_members, len(devices))
    mesh = _mesh(devices)
    if _are_dealt(num_members, len(devices)):
        axes = jax.tree.map(lambda _: 0, _shapes(learner))
    else:
        behind = int(num_members > 1)  # the axis of members
        axes = jax.tree.map(lambda axis: axis if axis == _NONE else axis + behind, _env_axes(learner))
    # Where one process reads them all, metrics of members stay where they were computed: no device waits for another.
    apart = _are_dealt(num_members, len(devices)) and len({each.process_index for each in devices}) == 1
    metrics = NamedSharding(mesh, _spec(1 if apart else _NONE))
    return Placement(mesh, jax.tree.map(lambda axis: NamedSharding(mesh, _spec(axis)), axes), metrics)


def dealt(devices: Sequence[jax.Device]) -> Mapper:
    """Members dealt out evenly over `devices`, on each of which they are `in_turn`: what is best for cores of a CPU."""
    mesh, members = _mesh(devices), PartitionSpec(AXIS)

    def mapper(of_one: Function) -> Function:
        return jax.shard_map(in_turn(of_one), mesh=mesh, in_specs=members, out_specs=members, check_vma=False)

    return mapper


def check(learner: Any, num_members: int, num_devices: int) -> None:
    """Raise ValueError if neither `num_members` members nor a learner's environments can be dealt out evenly."""
    if _are_dealt(num_members, num_devices):
        return
    num_envs = getattr(learner.config, "num_envs", None)
    if num_envs is None:
        raise ValueError(f"num_seeds is {num_members}; it must be a multiple of {num_devices}, the number of devices")
    together = num_devices * getattr(learner, "envs_together", 1)
    if num_envs % together == 0:
        return
    shared = " and what minibatches are drawn from as one" if together > num_devices else ""
    raise ValueError(
        f"num_envs is {num_envs}; it must be a multiple of {together}, for {num_devices} devices"
        f"{shared}, or num_seeds a multiple of {num_devices}"
    )


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _are_dealt(num_members: int, num_devices: int) -> bool:
    return num_members > 1 and num_members % num_devices == 0


def _env_axes(learner: Any) -> PyTree:
    """For each leaf of the state of one member the axis of environments, found as the one that grows with them."""
    more = dataclasses.replace(learner.config, num_envs=2 * learner.config.num_envs)
    grown = _shapes(dataclasses.replace(learner, config=more))
    return jax.tree.map(lambda one, other: _differing(one.shape, other.shape), _shapes(learner), grown)


def _shapes(learner: Any) -> PyTree:
    return jax.eval_shape(learner.init, jax.random.key(0))


def _differing(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((axis for axis, sizes in enumerate(zip(one, other, strict=True)) if sizes[0] != sizes[1]), _NONE)


def _spec(axis: int) -> PartitionSpec:
    return PartitionSpec() if axis == _NONE else PartitionSpec(*[None] * axis, AXIS)
