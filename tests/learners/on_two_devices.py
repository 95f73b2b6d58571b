"""Trains on one and on two virtual CPU devices, and prints what came of it as JSON; a process of its own runs this."""

import collections
import json
import re
import sys

import jax

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import ConsensusConfig, MAPPOConfig, sharding
from jaxdlb.learners.population import in_turn
from jaxdlb.networks import NetworkConfig
from train import loop
from train.population import Population

COLLECTIVES = r" (all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)(?:-start)?\("
GAME = jaxdlb.make("dlb", num_nodes=2)
SMALL = {"hidden": (4,), "critic_hidden": (4,)}
LEARNERS = {
    "steps": (MAPPOConfig(num_envs=4, rollout_length=8, num_minibatches=4), NetworkConfig("mlp", **SMALL)),
    "sequences": (
        MAPPOConfig(num_envs=8, rollout_length=4, num_minibatches=4),
        NetworkConfig("mlp", recurrent=True, **SMALL),
    ),
    "consensus": (ConsensusConfig(num_envs=4, rollout_length=4), NetworkConfig("mlp", **SMALL)),
}


def program(learner, num_members, num_devices, mapper=jax.vmap):
    """Placement, first state and compiled update of some members of a learner on some devices."""
    placement = sharding.place(learner, num_members, jax.devices()[:num_devices])
    init, update = lambda: learner.init(jax.random.key(0)), learner.update
    if num_members > 1:
        keys = jax.random.split(jax.random.key(0), num_members)
        init, update = lambda: mapper(learner.init)(keys), mapper(learner.update)
    shardings = {"in_shardings": (placement.state,), "out_shardings": (placement.state, placement.state.num_updates)}
    return placement, init, jax.jit(update, **shardings).lower(jax.eval_shape(init)).compile()


def collectives(compiled):
    return collections.Counter(re.findall(COLLECTIVES, compiled.as_text()))


def trained(learner, num_members, num_devices, mapper=jax.vmap):
    """The collectives of an update on so many devices, and the utility and the policies after two."""
    placement, init, update = program(learner, num_members, num_devices, mapper)
    state = placement.made(init)
    for _ in range(2):
        state, metrics = jax.block_until_ready(update(state))
    state = placement.fetched(state)
    numbers = [float(each) for leaf in jax.tree.leaves(learner.policy_variables(state).actor) for each in leaf.ravel()]
    return collectives(update), [float(metrics["utility"].sum()), *numbers]


def of_an_interval(learner):
    """The collectives of what a launcher runs between two visits to the host, of four seeds on two devices."""
    placement = sharding.place(learner, 4, jax.devices())
    population = Population(learner, 0, 4, sharding.dealt(jax.devices()))
    return collectives(loop.compiled(population, population.template(), 3, placement))


def main():
    told = {}
    for name in sys.argv[1:]:
        config, network = LEARNERS[name]
        learner = learners.make(GAME, config, network=network)
        told[name] = [trained(learner, 1, num_devices) for num_devices in (1, 2)]
    config, network = LEARNERS["steps"]
    learner = learners.make(GAME, config, network=network)
    told["seeds"] = collectives(program(learner, 2, 2)[2])
    told["interval"] = of_an_interval(learner)
    told["dealt"] = [trained(learner, 4, 1, in_turn), trained(learner, 4, 2, sharding.dealt(jax.devices()))]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
