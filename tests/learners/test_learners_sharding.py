"""A learner spread over devices: the same result, sums over all devices and no other exchange, clear refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from processes import own_environment

import jaxdlb
from jaxdlb import learners
from jaxdlb.learners import MAPPOConfig, sharding
from jaxdlb.networks import NetworkConfig

GAME = jaxdlb.make("dlb", num_nodes=2)


@pytest.fixture(scope="module")
def told():
    """What `on_two_devices.py` prints: the number of devices is a property of a process."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("on_two_devices.py")), "steps", "sequences", "consensus"],
        env=own_environment() | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["steps", "sequences", "consensus"])
def test_an_update_on_two_devices_sums_over_them_and_exchanges_nothing_else(told, name):
    (on_one, _), (on_two, _) = told[name]
    assert on_one == {}
    assert set(on_two) == {"all-reduce"}


@pytest.mark.parametrize("name", ["steps", "sequences", "consensus", "dealt"])
def test_two_devices_train_to_the_result_of_one(told, name):
    (_, one), (_, two) = told[name]
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)


def test_seeds_on_devices_of_their_own_exchange_nothing(told):
    assert told["seeds"] == {}
    (_, _), (of_dealt, _) = told["dealt"]
    assert of_dealt == {}
    assert told["interval"] == {}  # metrics too stay where they are: a device that is ahead waits for nobody


def learner_of(**sizes):
    return learners.make(GAME, MAPPOConfig(**sizes), network=NetworkConfig("mlp", hidden=(4,), critic_hidden=(4,)))


@pytest.mark.parametrize(
    ("sizes", "num_members", "num_devices", "message"),
    [
        ({"num_envs": 6}, 1, 4, "^num_envs is 6; it must be a multiple of 4, for 4 devices, or num_seeds a multiple"),
        ({"num_envs": 6}, 3, 4, "^num_envs is 6; it must be a multiple of 4"),
        ({"num_envs": 4, "rollout_length": 6, "num_minibatches": 4}, 1, 4, "a multiple of 8, for 4 devices and what"),
    ],
)
def test_what_devices_cannot_share_evenly_is_refused(sizes, num_members, num_devices, message):
    with pytest.raises(ValueError, match=message):
        sharding.check(learner_of(**sizes), num_members, num_devices)


def test_seeds_are_dealt_out_where_environments_cannot_be():
    sharding.check(learner_of(num_envs=3), 4, 4)


def test_environments_are_spread_and_all_else_is_everywhere():
    learner = learner_of(num_envs=4)
    placement = sharding.place(learner, 1, jax.devices()[:1])
    for leaf in jax.tree.leaves((placement.state.environments, placement.state.memories)):
        assert leaf.spec == jax.sharding.PartitionSpec(sharding.AXIS)
    for leaf in jax.tree.leaves((placement.state.params, placement.state.optimiser, placement.state.moments)):
        assert leaf.spec == jax.sharding.PartitionSpec()
    side_by_side = sharding.place(learner, 3, jax.devices()[:1])
    assert {leaf.spec for leaf in jax.tree.leaves(side_by_side.state)} == {jax.sharding.PartitionSpec(sharding.AXIS)}
