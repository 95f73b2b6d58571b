"""The memory that training takes at its peak, in a process of its own, beside what its program says beforehand."""

import json
import subprocess
import sys

import pytest
from processes import ROOT, own_environment

MIB = 2**20
# Prints what is said of the memory of an update, and what the process held at its peak beyond what it held before.
MEASURE = """
import json, sys
import jax, jax.numpy as jnp
from train import cli, compose, launch, loop
from jaxdlb import memory
from benchmarks import timing
cli.tune()
jax.config.update("jax_enable_compilation_cache", False)
plan = launch.prepare(compose.from_conf(sys.argv[1:]), sys.argv[1:])
population = plan.population
program = loop.compiled(population, population.template(), 1)
before = timing.resident_memory()
peak = timing.peak_memory(lambda: program(population.init(), jnp.int32(1)), jax.devices()[0])
print(json.dumps({"said": memory.estimate(program).total, "held": peak.num_bytes - before, "covers": peak.covers}))
"""
SETTINGS = {
    "mappo, a pointer": ["learner.num_envs=4096"],
    "mappo with memory": ["network=mlp_gru", "learner.num_envs=2048"],
    "consensus": ["learner=consensus", "network=mlp", "network.hidden=[64]", "learner.num_envs=32768"],
    "the rack": ["game=rack", "learner.num_envs=2048"],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_peak_is_as_predicted_within_a_fifth(name):
    environment = own_environment() | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", MEASURE, *SETTINGS[name]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["covers"] == "host process, during one call"
    assert found["said"] > 100 * MIB  # so that the program outweighs what else a process allocates
    assert found["said"] == pytest.approx(found["held"], rel=0.2)
