"""Checks of a game's static facts, its shapes and its rounds."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxdlb import parameters, spaces
from jaxdlb.game import Column, Foreseeing, Game, max_deciders, measured, mixed_rewards
from jaxdlb.spaces import Box, Discrete, Simplex, Space
from jaxdlb.testing.claims import claim, claim_alike, claim_no_nan, claim_same

_NUM_ROUNDS = 8  # of each rollout; legal actions and random bits alternate


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Some rounds of one cluster; `states[0]` and `timesteps[0]` come from the reset."""

    params: Any
    keys: list[PRNGKeyArray]  # for the reset and for each step
    states: list[Any]
    actions: list[Any]
    timesteps: list[Any]


def check_facts(game: Game) -> None:
    """The static facts: names, sizes, spaces, metrics, columns."""
    name = type(game).__name__
    claim(isinstance(game, Game), f"{name} lacks a member of jaxdlb.game.Game")
    claim(isinstance(game.name, str) and game.name, f"{name}.name is {game.name!r}; it must be a name")
    claim(
        _is_hashable(game), f"{name} is not hashable; a game must be a frozen dataclass, so that programs can be cached"
    )
    agents = game.num_agents
    claim(isinstance(agents, int) and agents >= 1, f"{name}.num_agents is {agents!r}; it must be an integer ≥ 1")
    claim(all(isinstance(length, int) for length in game.dims.values()), f"{name}.dims must map names to lengths")
    found = spaces.leaves(game.action_space)
    claim(
        found and all(isinstance(each, Space) for each in found),
        f"{name}.action_space must be a pytree whose leaves are Discrete, Box or Simplex, but it holds {found}",
    )
    claim("utility" in game.metrics, f"{name}.metrics has no 'utility', by which policies are ranked")
    claim("utility" in game.columns, f"{name}.columns has no 'utility', by which policies are ranked")
    for metric, meaning in game.metrics.items():
        claim(isinstance(meaning, str) and meaning, f"the metric {metric} must have a description of unit and meaning")
    for column, each in game.columns.items():
        claim(isinstance(each, Column), f"the column {column} must be a jaxdlb.game.Column")
        claim(each.header and each.meaning, f"the column {column} must have a header and a meaning")
        claim(
            not each.warning or each.verdict is None,
            f"the column {column} must have a warning or a verdict, not both; what warns ought to be 0 for all",
        )
        easier = None if each.bound is None else each.bound.game
        claim(
            easier is None or (column in easier.columns and not spaces.leaves(easier.action_space)),
            f"the bound of the column {column} must be a game that has this column and no action",
        )
    utility = game.columns["utility"]
    claim(utility.verdict is None, "the column utility must have no verdict; it always decides")
    claim(not utility.warning, "the column utility must have no warning; every table shows it")


def check_types(game: Game, params: Any) -> None:
    """The shapes and types of parameters, states and time steps; nothing is computed."""
    game.validate(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        settled = isinstance(leaf, jax.Array) and not leaf.weak_type
        claim(settled, f"params{jax.tree_util.keystr(path)} must be a jax.Array without a weak type")
    undeclared = {field.name for field in dataclasses.fields(params)} - set(parameters.declarations(params))
    claim(not undeclared, f"{', '.join(sorted(undeclared))} in the parameters must be declared with parameter or law")
    state, timestep = jax.eval_shape(game.reset, _key(), params)
    _check_timestep(game, timestep)
    _check_observation(game, timestep.observation)
    whole = jax.eval_shape(game.global_state, state, params)
    claim(whole.ndim == 1 and whole.dtype == jnp.float32, f"global_state is {_shape(whole)}; it must be float32 [G]")
    _check_truth(game, timestep.observation, jax.eval_shape(game.true_observation, state, params))
    _check_step(game, params)


def check_laws(game: Game, params: Any) -> None:
    """Under every law that can be given by its kind alone, `step` keeps the structure that `reset` gave.

    One trace has the first kinds of all laws, the next has the second kinds, and so on, where they can be combined.
    """
    laws = {name: each.laws for name, each in parameters.declarations(params).items() if each.laws}
    kinds = {name: [kind for kind in of if _with_laws(game, {name: kind}) is not None] for name, of in laws.items()}
    for row in range(max(map(len, kinds.values()), default=0)):
        together = {name: of[row] for name, of in kinds.items() if row < len(of)}
        combined = _with_laws(game, together)
        alone = (_with_laws(game, {name: kind}) for name, kind in together.items())
        for other in alone if combined is None else [combined]:
            _check_step(game, other)


def play(game: Game, several: Sequence[Any], key: PRNGKeyArray) -> list[Rollout]:
    """Play some rounds with each of several parameters: any action can be played, and one trace serves all."""
    traces = {"reset": 0, "step": 0}
    reset, step = (jax.jit(_counted(traces, name, getattr(game, name))) for name in traces)
    rollouts = [_rollout(game, reset, step, params, key) for params in several]
    for name, count in traces.items():
        claim(count == 1, f"{name} is traced {count} times for {len(several)} parameters; one trace must serve all")
    return rollouts


def check_transformations(game: Game, several: Sequence[Any], rollouts: Sequence[Rollout]) -> None:
    """Compilation changes nothing, and `vmap` over parameters equals a loop over them."""
    t = len(rollouts[0].actions) - 1
    first = rollouts[0]
    key, before, action = first.keys[t + 1], first.states[t], first.actions[t]
    after = (first.states[t + 1], first.timesteps[t + 1])
    claim_same(game.step(key, before, action, first.params), after, "step gives different results eagerly and compiled")
    eager = game.reset(first.keys[0], first.params)
    claim_same(eager, (first.states[0], first.timesteps[0]), "reset gives different results eagerly and compiled")
    inputs = [(each.states[t], each.actions[t], each.params) for each in rollouts]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *inputs)
    together = jax.jit(jax.vmap(game.step, (None, 0, 0, 0)))(key, *stacked)
    for i, each in enumerate(rollouts):
        alone = (each.states[t + 1], each.timesteps[t + 1])
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        claim_same(alone, mine, "step gives different results for one cluster alone and in a vmap over params")


def check_columns(game: Game, rollouts: Sequence[Rollout]) -> None:
    """Every column gives a number (or NaN) from the sums of an episode, and uses only metrics that exist."""
    further = jax.jit(partial(measured, game))
    for each in rollouts:
        of_states = [further(state, each.params) for state in each.states]
        _check_measured(game, of_states)
        sums = _sums(each) | _summed(of_states[1:])
        for name, column in game.columns.items():
            _check_column(name, column, sums)


def check_potential(game: Game, rollouts: Sequence[Rollout]) -> None:
    """A potential, where the game states one, is a finite number for each agent, and 0 at a true end."""
    if not isinstance(game, Foreseeing):
        return
    stated = jax.jit(game.potential)
    for each in rollouts:
        for state, timestep in zip(each.states, each.timesteps, strict=True):
            found = np.asarray(stated(state, each.params))
            shape = (game.num_agents,)
            claim(found.shape == shape, f"potential gives an array of shape {found.shape}; it must give one of {shape}")
            claim(np.all(np.isfinite(found)), f"potential gives {found}; it must be finite")
            at_end = float(timestep.discount) == 0
            claim(not (at_end and np.any(found)), f"potential gives {found} at a true end; it must be 0")


def _check_column(name: str, column: Column, sums: Mapping[str, Any]) -> None:
    try:
        with np.errstate(all="ignore"):
            number = np.asarray(column.of(sums), np.float64)
    except Exception as error:
        raise AssertionError(f"the column {name} cannot be computed from the sums {sorted(sums)}: {error!r}") from error
    claim(number.ndim == 0, f"the column {name} gives an array of shape {number.shape}; it must give a number")


def _sums(rollout: Rollout) -> dict[str, Any]:
    played = rollout.timesteps[1:]
    totals = _summed([each.metrics for each in played])
    elapsed = sum((np.float64(each.elapsed) for each in played), np.float64(0))
    return totals | {"steps": np.float64(len(played)), "elapsed": elapsed}


def _summed(reported: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: sum((np.asarray(each[name], np.float64) for each in reported), np.float64(0)) for name in reported[0]}


def _check_measured(game: Game, of_states: Sequence[Mapping[str, Any]]) -> None:
    """What a game measures for evaluations alone: 0 at reset, finite, and named otherwise than what it reports."""
    shared = sorted(set(of_states[0]) & set(game.metrics))
    claim(not shared, f"measured gives {', '.join(shared)}, which the game's metrics name already")
    for name, value in of_states[0].items():
        claim(not np.any(value), f"measured gives a {name} other than 0 at reset")
    claim_no_nan(of_states, "what is measured must be finite")


def _check_timestep(game: Game, timestep: Any) -> None:
    expected = {
        "reward": ((game.num_agents,), jnp.float32),
        "discount": ((), jnp.float32),
        "last": ((), jnp.bool_),
        "elapsed": ((), jnp.float32),
    }
    own = [timestep.utilities is None, timestep.selfishness is None]
    claim(own[0] == own[1], "a time step must have both utilities and selfishness, or neither")
    if not any(own):
        expected |= {"utilities": ((game.num_agents,), jnp.float32), "selfishness": ((), jnp.float32)}
    for name, (shape, dtype) in expected.items():
        leaf = getattr(timestep, name)
        wanted = f"{np.dtype(dtype)}{list(shape)}"
        claim((leaf.shape, leaf.dtype) == (shape, dtype), f"{name} is {_shape(leaf)}; it must be {wanted}")
    given, named = set(timestep.metrics), set(game.metrics)
    claim(
        given == named, f"the metrics of a time step are {sorted(given)}, but those that the game names {sorted(named)}"
    )


def _check_observation(game: Game, observation: Any) -> None:
    claim(dataclasses.is_dataclass(observation), "the observation must be a dataclass")
    for name in ("own", "legal"):
        claim(hasattr(observation, name), f"the observation has no {name!r}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(observation):
        first = leaf.shape[:1] == (game.num_agents,)
        where = f"observation{jax.tree_util.keystr(path)}"
        claim(first, f"{where} has shape {list(leaf.shape)}; its leading axis must be the {game.num_agents} agents")
    claim(observation.own.ndim == 2, f"observation.own is {_shape(observation.own)}; it must be [N, F]")
    peers = getattr(observation, "peers", None)
    claim(peers is None or peers.ndim == 3, "observation.peers, if there are any, must be [N, P, F]")
    visible = getattr(observation, "visible", None)
    if visible is not None:
        right = peers is not None and (visible.shape, visible.dtype) == (peers.shape[:2], jnp.bool_)
        claim(right, f"observation.visible is {_shape(visible)}; it must be bool [N, P], for the rows of peers")
    found = spaces.leaves(game.action_space)
    legal, structure = jax.tree.flatten(observation.legal)
    wanted: Any = jax.tree.structure(game.action_space, is_leaf=lambda node: isinstance(node, Space))
    claim(structure == wanted, f"observation.legal has the structure {structure}; it must have the action's, {wanted}")
    for space, mask in zip(found, legal, strict=True):
        shape = (game.num_agents, *_choices(space))
        right = (mask.shape, mask.dtype) == (shape, jnp.bool_)
        claim(right, f"observation.legal is {_shape(mask)} for {space}; it must be bool{list(shape)}")


def _check_truth(game: Game, observation: Any, true: Any) -> None:
    """An oracle's view has all that the observation has, and further fields if the game gives it more."""
    claim(dataclasses.is_dataclass(true), "true_observation must be a dataclass")
    fields = [field.name for field in dataclasses.fields(observation)]
    lacking = [name for name in fields if not hasattr(true, name)]
    claim(not lacking, f"true_observation has no {', '.join(lacking)}, which the observation has")
    seen, known = ({name: getattr(each, name) for name in fields} for each in (observation, true))
    claim_alike(seen, known, "the observation and true_observation must match")
    _check_observation(game, true)


def _choices(space: Space) -> tuple[int, ...]:
    if isinstance(space, Discrete):
        return (space.num_choices,)
    return (space.size,) if isinstance(space, Simplex) else ()


def _check_step(game: Game, params: Any) -> None:
    start = jax.eval_shape(game.reset, _key(), params)
    action = jax.eval_shape(
        lambda key, legal: spaces.sample(game.action_space, key, legal), _key(), start[1].observation.legal
    )
    after = jax.eval_shape(game.step, _key(), start[0], action, params)
    for name, first, second in zip(("state", "time step"), start, after, strict=True):
        claim_alike(first, second, f"the {name} that reset gives and the one that step gives must match")


def _with_laws(game: Game, kinds: Mapping[str, str]) -> Any:
    """The defaults with other laws; None if these cannot be given by their kinds alone."""
    try:
        return game.default_params(**kinds)
    except ValueError:
        return None


def _rollout(game: Game, reset: Callable, step: Callable, params: Any, key: PRNGKeyArray) -> Rollout:
    keys = list(jax.random.split(key, _NUM_ROUNDS + 1))
    state, timestep = reset(keys[0], params)
    rollout = Rollout(params, keys, [state], [], [timestep])
    _check_moment(game, state, timestep, "reset")
    for t in range(_NUM_ROUNDS):
        draw = _random_bits if t % 2 else spaces.sample
        action = draw(game.action_space, jax.random.fold_in(keys[t + 1], 1), timestep.observation.legal)
        state, timestep = step(keys[t + 1], state, action, params)
        _check_moment(game, state, timestep, "step after random bits as an action" if t % 2 else "step")
        rollout.states.append(state)
        rollout.actions.append(action)
        rollout.timesteps.append(timestep)
    return rollout


def _random_bits(action_space: Any, key: PRNGKeyArray, legal: Any) -> Any:
    """An action of the right shapes and types with random bits: any integer, any float, even NaN and infinity."""
    legal_action = spaces.sample(action_space, key, legal)
    leaves, treedef = jax.tree.flatten(legal_action)
    keys = jax.random.split(key, len(leaves))
    bits = [jax.random.bits(each, leaf.shape, jnp.uint32) for each, leaf in zip(keys, leaves, strict=True)]
    wild = [jax.lax.bitcast_convert_type(each, leaf.dtype) for each, leaf in zip(bits, leaves, strict=True)]
    strange = [_with_nan(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf for leaf in wild]
    return jax.tree.unflatten(treedef, strange)


def _with_nan(leaf: jax.Array) -> jax.Array:
    return leaf.at[(0,) * leaf.ndim].set(jnp.nan).at[(-1,) * leaf.ndim].set(jnp.inf)


def _check_moment(game: Game, state: Any, timestep: Any, when: str) -> None:
    seen = timestep.observation
    claim_no_nan(state, f"the state holds NaN after {when}", finite=False)
    reported = {"reward": timestep.reward, "metrics": timestep.metrics, "elapsed": timestep.elapsed}
    claim_no_nan(reported, f"reward, metrics and elapsed must be finite, but are not after {when}")
    claim_no_nan(seen, f"the observation must be finite, but is not after {when}")
    discount, elapsed = float(timestep.discount), float(timestep.elapsed)
    claim(0 <= discount <= 1, f"discount is {discount:g} after {when}; it must be in [0, 1]")
    claim(
        discount > 0 or bool(timestep.last),
        f"discount is 0 after {when} but last is false; a true end must be the last step",
    )
    claim(elapsed >= 0, f"elapsed is {elapsed:g} after {when}; it must be ≥ 0")
    if timestep.utilities is not None:
        mixed = mixed_rewards(timestep.utilities, timestep.selfishness)
        close = np.allclose(timestep.reward, mixed, rtol=1e-4, atol=1e-4)
        claim(close, f"reward is not (1 − κ) · mean of the utilities + κ · utilities after {when}")
    for space, mask in zip(spaces.leaves(game.action_space), jax.tree.leaves(seen.legal), strict=True):
        everybody = isinstance(space, Box) or bool(np.all(np.any(mask, axis=-1)))
        claim(everybody, f"an agent has no legal choice in {space} after {when}; each needs at least one")
    most, found = max_deciders(game), int(jnp.sum(spaces.decides(game.action_space, seen.legal)))
    claim(most is None or found <= most, f"{found} agents have a choice after {when}; max_deciders is {most}")


def _counted(traces: dict[str, int], name: str, function: Callable) -> Callable:
    """The function, counting in `traces` how often it is traced."""

    def counted(*arguments: Any) -> Any:
        traces[name] += 1
        return function(*arguments)

    return counted


def _is_hashable(game: Game) -> bool:
    try:
        return isinstance(hash(game), int)
    except TypeError:
        return False


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
