"""Who sees what of the cluster: dispatchers, and a centralised critic."""

import enum

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxdlb.games.cluster import dynamics, estimates, nodes
from jaxdlb.games.cluster.estimates import Estimate, Node
from jaxdlb.games.cluster.sums import by_class, products
from jaxdlb.games.cluster.types import CLASSES, EMPTY, RUNNING, Params, State, Window
from jaxdlb.games.cluster.window import at_hand

_CORES_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of cores wanted, over those of the node
_MEMORY_LEVELS = (0.5, 0.75, 1.0)
_WORK_UNIT = 10.0  # s
_TENTH, _HUNDREDTH = 0.1, 0.01  # units in which small numbers are told, since networks see large ones by logarithm
_URGENCY = 5.0  # s: how sharply a task counts as late in what a critic sees
_KILO = 1000.0


class Own(enum.IntEnum):
    """Columns of `Observation.own`; raw numbers, the first eight 0 of a dispatcher without a task."""

    HAS_TASK = 0
    RUN_TIME = 1  # e: s at speed 1
    CORES = 2
    MEMORY = 3  # GB
    PRODUCTION = 4
    BATCH = 5
    BEST_EFFORT = 6
    DUE = 7  # s to its deadline
    BUSY = 8  # share of dispatchers with a task, which means the same whatever their number
    CORES_WANTED = 9  # of all tasks on nodes, over all cores
    MEMORY_WANTED = 10  # likewise
    ASLEEP = 11  # share of nodes


class Peer(enum.IntEnum):
    """Columns of `Observation.peers`, a row a candidate; raw numbers."""

    CORES = 0  # C
    MEMORY = 1  # GB
    SPEED = 2
    IDLE_POWER = 3  # W
    DYNAMIC_POWER = 4  # W
    DELAY = 5  # s until the task is there
    RUNNING = 6  # tasks
    WAITING = 7
    RUNNING_CORES = 8  # over C
    WAITING_CORES = 9
    RUNNING_MEMORY = 10  # over the node's memory
    WAITING_MEMORY = 11
    WORK = 12  # Σ left · cores / (s · C), s
    BACKLOG = 13  # B, s
    ASLEEP = 14
    WAKE_IN = 15  # s
    IDLE_FOR = 16  # s
    FITS = 17  # whether it has memory for the task beside all its tasks
    COMPLETION = 18  # T̂, s
    LATENESS = 19  # T̂ − s to the deadline
    ENERGY = 20  # Ê, kJ
    TASK_CORES = 21  # over C
    TASK_MEMORY = 22  # over the node's memory


@struct.dataclass
class Observation:
    """What each of M dispatchers knows; the leading axis is the dispatcher."""

    own: Float[Array, "M 12"]  # columns: `Own`
    peers: Float[Array, "M K 23"]  # columns: `Peer`; all 0 of a dispatcher without a task
    candidates: Int[Array, "M K"]  # which node each row of `peers` is; 0 of a dispatcher without a task
    legal: Bool[Array, "M K"]  # candidates that are able; choice 0 alone if there are none, or no task


def due(window: Window, params: Params) -> Float[Array, " M"]:
    """Seconds to the deadlines of tasks at hand."""
    return params.deadline_factor[window.task_class] * window.run_time + window.arrives


def observe(state: State, params: Params) -> Observation:
    """What each dispatcher knows."""
    window, has, table = state.window, at_hand(state.window), estimates.table(state, params)
    listed = jnp.where(has[:, None], window.candidates, 0)
    are_able = dynamics.able(window.memory, dynamics.free_slots(state.status), params)
    is_able = jnp.take_along_axis(are_able, listed, axis=1) & has[:, None]
    only_first = jnp.arange(listed.shape[1]) == 0
    return Observation(
        own=_own(state, has, table, params),
        peers=jnp.where(has[:, None, None], _peers(table[listed], window, params), 0.0),
        candidates=listed,
        legal=jnp.where(jnp.any(is_able, axis=1, keepdims=True), is_able, only_first),
    )


def _own(state: State, has: Bool[Array, " M"], table: Float[Array, "N 18"], params: Params) -> Float[Array, "M 12"]:
    window, totals = state.window, jnp.sum(table, axis=0)
    flags = [window.task_class == each for each in range(len(CLASSES))]
    facts = [has, window.run_time, window.cores, window.memory, *flags, due(window, params)]
    task = jnp.where(has[:, None], jnp.stack(facts, axis=-1, dtype=jnp.float32), 0.0)
    shared = [
        jnp.mean(has),
        (totals[Node.RUNNING_CORES] + totals[Node.WAITING_CORES]) / totals[Node.CORES],
        (totals[Node.RUNNING_MEMORY] + totals[Node.WAITING_MEMORY]) / totals[Node.MEMORY],
        totals[Node.ASLEEP] / table.shape[0],
    ]
    same = jnp.broadcast_to(jnp.stack(shared, dtype=jnp.float32), (has.shape[0], len(shared)))
    return jnp.concatenate([task, same], axis=1)


def _peers(rows: Float[Array, "M K 18"], window: Window, params: Params) -> Float[Array, "M K 23"]:
    run_time, cores, memory = (each[:, None] for each in (window.run_time, window.cores, window.memory))
    found = estimates.estimate(rows, run_time, cores, memory, params)
    node_cores, node_memory = rows[..., Node.CORES], rows[..., Node.MEMORY]
    return jnp.concatenate(
        [
            rows[..., : Node.NETWORK_DELAY],
            found.delay[..., None],
            rows[..., Node.RUNNING : Node.RUNNING_CORES],
            rows[..., Node.RUNNING_CORES : Node.RUNNING_MEMORY] / node_cores[..., None],
            rows[..., Node.RUNNING_MEMORY : Node.WORK] / node_memory[..., None],
            rows[..., Node.WORK :],
            jnp.stack(
                [
                    found.fits,
                    found.completion,
                    found.completion - due(window, params)[:, None],
                    found.energy / _KILO,
                    cores / node_cores,
                    memory / node_memory,
                ],
                axis=-1,
                dtype=jnp.float32,
            ),
        ],
        axis=-1,
    )


def global_state(state: State, params: Params) -> Float[Array, " 126"]:
    """What a centralised critic sees: the first task of the window, nodes by tier, and what is to come of all tasks.

    Its length depends on no size. A window without further tasks counts as a first task that is all 0.
    """
    window, table = state.window, estimates.table(state, params)
    comes = jnp.isfinite(window.arrives[0])
    first = jax.tree.map(lambda each: jnp.where(comes, each[0], 0), window)
    task = [
        first.run_time,
        first.cores,
        first.memory,
        (first.task_class == 0) & comes,
        first.task_class == 1,
        -first.arrives,
        jnp.sum(at_hand(window)),
    ]
    found = estimates.estimate(table, first.run_time, first.cores, first.memory, params)
    of_tasks = _of_tasks(state, table, params)
    parts = [
        _of_nodes(table, found, params).ravel(),
        _of_crowding(table, params),
        of_tasks.ravel(),
        _of_all(of_tasks, table, params),
    ]
    return jnp.concatenate([jnp.stack(task, dtype=jnp.float32), *parts])


def _of_nodes(table: Float[Array, "N 18"], found: Estimate, params: Params) -> Float[Array, "5 13"]:
    """Of the nodes' columns the means over each tier, the greatest and the least."""
    cores, memory = table[:, Node.CORES, None], table[:, Node.MEMORY, None]
    columns = jnp.concatenate(
        [
            table[:, Node.RUNNING : Node.RUNNING_CORES],
            table[:, Node.RUNNING_CORES : Node.RUNNING_MEMORY] / cores,
            table[:, Node.RUNNING_MEMORY : Node.WORK] / memory,
            table[:, Node.WORK :],
            jnp.stack([found.completion, found.energy / _KILO], axis=-1),
        ],
        axis=1,
    )
    return jnp.concatenate(
        [_means_of_tiers(columns, params), jnp.max(columns, axis=0)[None], jnp.min(columns, axis=0)[None]]
    )


def _means_of_tiers(columns: Float[Array, "N F"], params: Params) -> Float[Array, "3 F"]:
    """Means over the nodes of each tier, 0 where it has none."""
    is_of = (params.tier == jnp.arange(3)[:, None]).astype(jnp.float32)
    return products(is_of, columns) / jnp.maximum(jnp.sum(is_of, axis=1, keepdims=True), 1.0)


def _of_crowding(table: Float[Array, "N 18"], params: Params) -> Float[Array, " 36"]:
    """How uneven nodes are: by what is here, a critic tells on which of them a task would be better.

    A mean over nodes does not; so here are means, over each tier, of how far the cores wanted of a node lie above
    several levels, how far the memory does, and of the square of its work in 10 s, all in tenths. A sum of these with
    weights is any function of a node's cores, piecewise linear, added up over nodes. Then the variance over nodes of
    the share of cores in use, in tenths, the tasks that come in 100 s for each core of speed 1, and `sleep_after`.
    """
    cores = (table[:, Node.RUNNING_CORES] + table[:, Node.WAITING_CORES]) / table[:, Node.CORES]
    memory = (table[:, Node.RUNNING_MEMORY] + table[:, Node.WAITING_MEMORY]) / table[:, Node.MEMORY]
    above = [jnp.maximum(cores - level, 0.0) for level in _CORES_LEVELS]
    above += [jnp.maximum(memory - level, 0.0) for level in _MEMORY_LEVELS]
    columns = jnp.stack([*above, (table[:, Node.WORK] / _WORK_UNIT) ** 2], axis=-1) / _TENTH
    used = jnp.minimum(table[:, Node.RUNNING_CORES] / table[:, Node.CORES], 1.0)
    rate = params.arrival_rate / jnp.sum(params.speed * params.cores)
    of_cluster = jnp.stack([jnp.var(used) / _TENTH, rate / _HUNDREDTH, params.sleep_after])
    return jnp.concatenate([_means_of_tiers(columns, params).ravel(), of_cluster])


def _of_tasks(state: State, table: Float[Array, "N 18"], params: Params) -> Float[Array, "3 4"]:
    """By class: seconds until tasks are done (ρ), tasks whose deadline is ahead, those of them that will miss it."""
    speed = table[:, Node.SPEED]
    rate = speed * nodes.shares(table[:, Node.RUNNING_CORES], params)
    before = table[:, Node.BACKLOG] + table[:, Node.WAKE_IN]
    waits = state.left / speed[:, None] + before[:, None]
    until_done = jnp.where(state.status == RUNNING, state.left / rate[:, None], waits)
    is_task = state.status != EMPTY
    is_ahead = is_task & (state.due >= 0)
    sums = by_class(
        state.task_class,
        until_done=jnp.where(is_task, until_done, 0.0),
        ahead=is_ahead,
        late=is_ahead & (until_done > state.due),
        pressing=jnp.where(is_ahead, jax.nn.sigmoid((until_done - state.due) / _URGENCY), 0.0),
    )
    return jnp.stack(list(sums.values()), axis=1)


def _of_all(of_tasks: Float[Array, "3 4"], table: Float[Array, "N 18"], params: Params) -> Float[Array, " 6"]:
    """Seconds until tasks are done, tasks, kJ still to be spent on them, idle kW now, cores and GB wanted."""
    idle = table[:, Node.IDLE_POWER] * jnp.where(table[:, Node.ASLEEP] > 0, params.sleep_power, 1.0)
    columns = [
        jnp.sum(of_tasks[:, 0]),
        jnp.sum(table[:, Node.RUNNING : Node.RUNNING_CORES]),
        jnp.sum(table[:, Node.DYNAMIC_POWER] * table[:, Node.WORK]) / _KILO,
        jnp.sum(idle) / _KILO,
        jnp.sum(table[:, Node.RUNNING_CORES : Node.RUNNING_MEMORY]),
        jnp.sum(table[:, Node.RUNNING_MEMORY : Node.WORK]),
    ]
    return jnp.stack(columns)
