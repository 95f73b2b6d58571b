"""Every algorithm of MARLISE, by the name that it has there, trains by what the documentation translates it to."""

import functools
import re

import jax
import numpy as np
import pytest
from command_line import ROOT

from train import build, compose

PAGE = (ROOT / "docs" / "learners" / "off_policy.md").read_text(encoding="utf-8")
UPDATES = 3
SMALL = {  # 96 agent-rounds an update
    "game": ("game=pods_marlise", "game.max_arrivals=24", "game.queue_capacity=8"),
    "network": ("network=mlp", "network.hidden=[4]", "network.critic_hidden=[4]"),
    "learner": ("learner.num_envs=4", "learner.rollout_length=8"),
    "on policy": ("learner.num_epochs=1", "learner.num_minibatches=1"),
    "buffer": (
        "learner.batch_size=4",
        "learner.gradient_steps=1",
        "learner.replay_length=16",
        "learner.warmup_steps=8",
    ),
}
EXPECTED = {  # of each, what it must come to: the learner, the action, and settings of the learner
    "ppo": ("ippo", "delta", {"critic": "observation"}),
    "ippo": ("ippo", "instant", {"critic": "observation"}),
    "dppo": ("ippo", "discrete", {"critic": "observation"}),
    "ddpg": ("ddpg", "delta", {"critic": "observation", "noise": "ou"}),
    "iddpg": ("ddpg", "instant", {"critic": "observation", "noise": "ou"}),
    "mdqn": ("dqn", "discrete", {"double": False, "dueling": False, "mixer": "none"}),
    "dmdqn": ("dqn", "discrete", {"double": True, "dueling": False, "mixer": "none"}),
    "ddmdqn": ("dqn", "discrete", {"double": True, "dueling": True, "mixer": "none"}),
}


@functools.cache
def translations():
    """By MARLISE's name, the keys of the command line that its row in the documentation gives."""
    _, _, section = PAGE.partition("\n## Which is which in MARLISE\n")
    found = {}
    for line in re.findall(r"^\| (`.*) \|$", section.partition("\n## ")[0], re.MULTILINE):
        names, _, here = line.split(" | ")
        keys, _, actions = here.partition(", action ")
        given = re.findall(r"`(.+)`", keys)[0].split()
        ways = [[f"game.action={each}"] for each in re.findall(r"`(\w+)`", actions)] or [[]]
        found |= {name: [*given, *way] for name, way in zip(re.findall(r"`(\w+)`", names), ways, strict=True)}
    return found


def test_the_documentation_translates_every_name():
    assert set(translations()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_algorithm_of_marlise_trains_by_its_translation(name):
    kind, action, expected = EXPECTED[name]
    sizes = [*SMALL["game"], *SMALL["network"], *SMALL["learner"], *SMALL["on policy" if kind == "ippo" else "buffer"]]
    given = [*sizes, *translations()[name]]
    settings = compose.settings(compose.from_conf(given), given)
    scenario = build.scenario(settings.game)
    learner = build.learner(settings, scenario)
    assert (settings.learner.name, scenario.game.action) == (kind, action)
    assert {key: getattr(learner.config, key) for key in expected} == expected

    @jax.jit
    def train(key):
        start = learner.init(key)
        end, metrics = jax.lax.scan(lambda state, _: learner.update(state), start, length=UPDATES)
        return [learner.policy_variables(state).actor for state in (start, end)], metrics

    (before, after), metrics = train(jax.random.key(0))
    assert all(np.isfinite(values).all() for values in metrics.values())
    assert np.ptp(metrics["utility"]) > 0
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert np.isfinite(other).all() and not np.array_equal(one, other)
