"""One program that plays many policies side by side under common random numbers.

The game's keys depend only on the evaluation's key, the episode and the round. So every policy faces the same clusters,
arrivals and chances of completion, and whatever the policies share is drawn and compiled once. Policies draw from a
separate stream that depends on the same three things alone: a policy plays the same whichever others take part.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from jaxdlb.game import Game, TimeStep, measured
from jaxdlb.mechanics import chance
from jaxdlb.mechanics.loops import while_any
from jaxdlb.policies import Policy, is_opaque

SampleParams = Callable[[PRNGKeyArray], Any]  # a pure function from a key to the parameters of one cluster

_PARAMS, _GAME, _POLICY = range(3)  # which of the keys split from an evaluation's is for what


class Tally(NamedTuple):
    """Running float32 sums that do not lose small terms (Kahan summation): total − excess is nearly the exact sum."""

    total: PyTree
    excess: PyTree

    def add(self, values: PyTree) -> "Tally":
        """The tally with `values` added."""
        missing = jax.tree.map(jnp.subtract, values, self.excess)
        total = jax.tree.map(jnp.add, self.total, missing)
        excess = jax.tree.map(lambda new, old, added: (new - old) - added, total, self.total, missing)
        return Tally(total, excess)


class Constant:
    """A policy that is not a pytree, as a static part of a program; it equals only itself."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.policy is other.policy

    def __hash__(self) -> int:
        return id(self.policy)


@struct.dataclass
class Team:
    """Policies that differ only in their numbers, and so share one program: stacked along a leading axis of `size`.

    A policy that is not a pytree forms a team by itself, with `constant` instead of `stacked`.
    """

    stacked: Any
    size: int = struct.field(pytree_node=False)
    constant: Constant | None = struct.field(pytree_node=False, default=None)

    @property
    def sees_true_state(self) -> bool:
        return (self.constant.policy if self.constant else self.stacked).kind == "oracle"

    def each(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """`call(policy, *arguments)` for every member, with that member's entry of each argument."""
        if self.constant:
            return jax.vmap(partial(call, self.constant.policy), axis_size=self.size)(*arguments)
        return jax.vmap(call, axis_size=self.size)(self.stacked, *arguments)


def teams_of(policies: Sequence[Policy]) -> tuple[tuple[Team, ...], list[int]]:
    """The policies grouped in teams; and, for the members of all teams in turn, their indices in `policies`."""
    alike: dict[Any, list[int]] = {}
    for place, policy in enumerate(policies):
        alike.setdefault(_program_key(policy), []).append(place)
    teams = tuple(_team([policies[place] for place in places]) for places in alike.values())
    return teams, [place for places in alike.values() for place in places]


def _program_key(policy: Policy) -> Any:
    """A key that is equal for two policies exactly if one program can serve both."""
    if is_opaque(policy):
        return Constant(policy)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(policy))
    return jax.tree.structure(policy), shapes


def _team(members: list[Policy]) -> Team:
    if is_opaque(members[0]):
        return Team(stacked=(), size=len(members), constant=Constant(members[0]))
    return Team(stacked=jax.tree.map(lambda *leaves: jnp.stack(leaves), *members), size=len(members))


@struct.dataclass
class Clusters:
    """The parameters of the cluster that each episode plays: with the leading axis E, or one cluster for all."""

    params: Any
    all_alike: bool = struct.field(pytree_node=False)


def draw_clusters(sample_params: SampleParams, key: PRNGKeyArray, num_episodes: int) -> Clusters:
    """Each episode's cluster, from a key of its own.

    The programs that play get them as arguments, so that one program serves any clusters; and those that are all alike,
    since no number of theirs depends on the key, are not laid out one by one.
    """
    program = jax.make_jaxpr(sample_params)(key)
    drawn = {id(each) for equation in program.jaxpr.eqns for each in equation.outvars} | set(
        map(id, program.jaxpr.invars)
    )
    if not any(id(each) in drawn for each in program.jaxpr.outvars):
        return Clusters(sample_params(key), all_alike=True)
    return Clusters(_draw(key, sample_params=sample_params, num_episodes=num_episodes), all_alike=False)


@partial(jax.jit, static_argnames=("sample_params", "num_episodes"))
def _draw(key: PRNGKeyArray, *, sample_params: SampleParams, num_episodes: int) -> Any:
    keys = jax.vmap(chance.fold_in, (None, 0))(jax.random.split(key, 3)[_PARAMS], jnp.arange(num_episodes))
    return jax.vmap(sample_params)(keys)


@partial(jax.jit, static_argnames=("game", "num_episodes", "at_once", "by_time", "in_full"))
def play(
    teams: tuple[Team, ...],
    clusters: Clusters,
    key: PRNGKeyArray,
    num_rounds: Float[Array, ""],
    warmup: Float[Array, ""],
    *,
    game: Game,
    num_episodes: int,
    at_once: int,
    by_time: bool = False,
    in_full: bool = True,
) -> Tally:
    """The sums of all metrics over the counted rounds, for each episode and policy: leaves [E, P, …].

    Rounds count from `warmup` on, up to and including a true end (`discount` 0); a time limit ends nothing. `by_time`,
    `num_rounds` and `warmup` are instants of the game's own time (see `began`). `steps` and `elapsed` are summed too
    and, `in_full`, what the game measures for evaluations alone. Policies are in the order of the teams. Only `at_once`
    episodes are played together and the rest take turns, which bounds memory and does not change results. The numbers
    of rounds are traced, so changing them does not recompile the program.
    """

    def play_one(episode: tuple[Int[Array, ""], Any]) -> Tally:
        number, drawn = episode
        game_key, policy_key = _episode_keys(key, number)
        params = clusters.params if clusters.all_alike else drawn
        return _play_episode(teams, game_key, policy_key, params, num_rounds, warmup, game, by_time, in_full)

    each = (jnp.arange(num_episodes), () if clusters.all_alike else clusters.params)
    return jax.lax.map(play_one, each, batch_size=at_once)


def _episode_keys(key: PRNGKeyArray, number: Int[Array, ""] | int) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The keys of an episode's game and of the policies in it."""
    keys = jax.random.split(key, 3)
    return chance.fold_in(keys[_GAME], number), chance.fold_in(keys[_POLICY], number)


@partial(jax.jit, static_argnames=("game", "num_rounds"))
def replay(
    team: Team, clusters: Clusters, key: PRNGKeyArray, number: Int[Array, ""] | int, *, game: Any, num_rounds: int
) -> tuple[dict[str, Shaped[Array, "P T N ..."]], Float[Array, "P T"]]:
    """One of the episodes of `play` once more: `node_metrics` and the discount after each step, for each policy."""
    game_key, policy_key = _episode_keys(key, number)
    params = clusters.params if clusters.all_alike else jax.tree.map(lambda leaf: leaf[number], clusters.params)
    reset = game.reset(chance.fold_in(game_key, 0), params)
    state, timestep = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (team.size, *leaf.shape)), reset)

    def advance(carry: tuple, round: Int[Array, ""]) -> tuple[tuple, Any]:
        memory, state, timestep = carry
        round_key = chance.fold_in(policy_key, round)
        memory, action = _act(team, round_key, memory, state, timestep.observation, params, game)
        step_key = chance.fold_in(game_key, round + 1)
        state, timestep = jax.vmap(game.step, (None, 0, 0, None))(step_key, state, action, params)
        told = jax.vmap(game.node_metrics, (0, None))(state, params)
        return (memory, state, timestep), (told, timestep.discount)

    first = (team.each(lambda policy: policy.init(game)), state, timestep)
    _, told = jax.lax.scan(advance, first, jnp.arange(num_rounds))
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), told)


def _play_episode(
    teams: tuple[Team, ...],
    game_key: PRNGKeyArray,
    policy_key: PRNGKeyArray,
    params: Any,
    num_rounds: Float[Array, ""],
    warmup: Float[Array, ""],
    game: Game,
    by_time: bool,
    in_full: bool,
) -> Tally:
    """One episode of one cluster, played by P policies side by side: sums with the leading axis P."""
    sizes = [team.size for team in teams]
    rows = [slice(end - size, end) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
    reset = game.reset(chance.fold_in(game_key, 0), params)
    state, timestep = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (sum(sizes), *leaf.shape)), reset)
    memories = tuple(team.each(lambda policy: policy.init(game)) for team in teams)
    goes_on = jnp.ones(sum(sizes), bool)

    def reported(state: Any, timestep: TimeStep, params: Any) -> dict[str, Shaped[Array, "P ..."]]:
        further = jax.vmap(partial(measured, game), (0, None))(state, params) if in_full else {}
        counted = {"steps": jnp.ones_like(timestep.elapsed), "elapsed": timestep.elapsed}
        return timestep.metrics | further | counted

    nothing = jax.tree.map(lambda each: jnp.zeros(each.shape), jax.eval_shape(reported, state, timestep, params))
    clock = Tally(jnp.zeros(sum(sizes)), jnp.zeros(sum(sizes)))  # what each policy has played, in rounds or in time

    def play_round(constants: tuple, carry: tuple) -> tuple:
        teams, game_key, policy_key, params, num_rounds, warmup = constants
        round, clock, goes_on, memories, state, timestep, tally = carry
        round_key = chance.fold_in(policy_key, round)
        played = []
        for team, row, memory in zip(teams, rows, memories, strict=True):
            own_state, own_timestep = jax.tree.map(lambda leaf, row=row: leaf[row], (state, timestep))
            played.append(_act(team, round_key, memory, own_state, own_timestep.observation, params, game))
        memories, actions = zip(*played, strict=True)
        action = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *actions)
        step_key = chance.fold_in(game_key, round + 1)
        state, timestep = jax.vmap(game.step, (None, 0, 0, None))(step_key, state, action, params)
        took = timestep.elapsed if by_time else jnp.ones_like(timestep.elapsed)
        start = began(clock, took)
        counts = goes_on & (start >= warmup) & (start < num_rounds)
        tally = tally.add(_where_it_counts(reported(state, timestep, params), counts))
        return round + 1, clock.add(took), goes_on & (timestep.discount > 0), memories, state, timestep, tally

    def somebody_plays(constants: tuple, carry: tuple) -> Bool[Array, ""]:
        *_, num_rounds, _ = constants
        _, clock, goes_on, *_ = carry
        return jnp.any(goes_on & (clock.total < num_rounds))

    first = (jnp.int32(0), clock, goes_on, memories, state, timestep, Tally(nothing, nothing))
    constants = (teams, game_key, policy_key, params, num_rounds, warmup)
    # Those who are done play on until the last one is, and nothing of that counts.
    return while_any(somebody_plays, play_round, constants, first)[-1]


def began(clock: Tally, took: Float[Array, "*P"]) -> Float[Array, "*P"]:
    """When a step began that `took` so long, for comparison with an instant: it counts from there on, or until there.

    So of steps that all take e, ceil(d / e) count in a duration of d. A step that begins a thousandth of itself before
    the instant counts as beginning there, since float32 may have rounded down what came before.
    """
    return clock.total + took / 1000


def _where_it_counts(
    reported: dict[str, Shaped[Array, "P ..."]], counts: Bool[Array, " P"]
) -> dict[str, Float[Array, "P ..."]]:
    """What a step adds to the sums of each policy: zeros where the step does not count."""

    def added(value: Shaped[Array, "P ..."]) -> Float[Array, "P ..."]:
        return jnp.where(counts.reshape(counts.shape + (1,) * (value.ndim - 1)), value, 0).astype(jnp.float32)

    return jax.tree.map(added, reported)


def _act(
    team: Team, key: PRNGKeyArray, memory: Any, state: Any, observation: Any, params: Any, game: Game
) -> tuple[Any, Any]:
    """The team's memories and actions in its own clusters; oracles see the truth instead of the observation."""
    if team.sees_true_state:
        observation = jax.vmap(game.true_observation, (0, None))(state, params)
    return team.each(lambda policy, carry, seen: policy.act(key, carry, seen, params), memory, observation)
