"""Bad calls of the library's API: each is answered by one sentence that begins with the argument's name."""

import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import jaxdlb
from jaxdlb import checkpoint, evaluation, learners, recording, spaces, task_records, theory, traces
from jaxdlb.learners import ConsensusConfig, IPPOConfig, MAPPOConfig
from jaxdlb.networks import NetworkConfig

GAME, RACK = jaxdlb.make("dlb", num_nodes=2), jaxdlb.make("rack", num_nodes=2)
PARAMS, KEY, LOCAL = GAME.default_params(), jax.random.key(0), jaxdlb.heuristic("local")
SMALL = MAPPOConfig(num_envs=2, rollout_length=2)
WORKLOAD = traces.Workload(np.arange(1.0, 9.0), 60.0, "a record")

NO_SWITCH = ["no", "true", 1, 0, 1.0, None, [True]]
NO_SIZE = ["4", 4.0, True, np.True_, 0, -1, math.nan, [4], 2**31, 10**20]
NO_WIDTHS = [(), 3, "32", [0], [1.5], [True], [[3]], [math.nan], (2**31,)]
NO_NUMBER = [None, "0.1", b"1", True, np.True_, math.nan, math.inf, [0.1], 1j, {}]
NO_KEY = [None, 0, "key", 1.5, jax.random.split(KEY)]


def evaluate(**changed):
    given = {"game": GAME, "policies": [LOCAL], "sample_params": lambda key: PARAMS, "key": KEY}
    evaluation.evaluate_all(**given | {"num_episodes": 2, "num_rounds": 3, "warmup": 0} | changed)


def record(**changed):
    recording.record(**{"game": GAME, "policy": LOCAL, "params": PARAMS, "key": KEY, "num_rounds": 2} | changed)


def train(**changed):
    learners.train(**{"game": GAME, "config": SMALL, "key": KEY, "num_updates": 1} | changed)


def modulate(**changed):
    traces.modulation(**{"workload": WORKLOAD, "arrival_prob": 0.5, "rounds_per_sample": 1} | changed)


def write(tmp_path, **changed):
    given = {"step": 1, "state": {"a": jnp.ones(2)}, "policy": {"b": jnp.ones(2)}, "utility": 1.0}
    with checkpoint.Writer(tmp_path / "steps", {}) as writer:
        writer.save(**given | changed)


# Where a call is named, what calls it, and by argument what it must refuse.
CALLS = {
    "NetworkConfig": (
        NetworkConfig,
        {"recurrent": NO_SWITCH, "kind": ["x", None, 1, ["mlp"]], "precision": ["x", None, 1]}
        | dict.fromkeys(("hidden", "critic_hidden"), NO_WIDTHS),
    ),
    "MAPPOConfig": (
        MAPPOConfig,
        dict.fromkeys(("share_parameters", "normalise_observations", "normalise_values"), NO_SWITCH)
        | dict.fromkeys(("num_envs", "rollout_length", "num_epochs", "num_minibatches"), NO_SIZE)
        | dict.fromkeys(("learning_rate", "gamma", "clip_epsilon", "max_grad_norm"), NO_NUMBER)
        | {"critic": ["x", None, np.array(["a", "b"])]},
    ),
    "IPPOConfig": (IPPOConfig, {"normalise_advantages": NO_SWITCH}),
    "ConsensusConfig": (
        ConsensusConfig,
        {"normalise_values": NO_SWITCH, "num_envs": NO_SIZE, "actor_learning_rate": NO_NUMBER},
    ),
    "make": (
        lambda **sizes: jaxdlb.make("dlb", **sizes),
        {"num_nodes": NO_SIZE, "heartbeats": [None, 1, np.array(["a", "b"])]},
    ),
    "default_params": (
        GAME.default_params,
        {
            "arrival_prob": [*NO_NUMBER[1:5], math.nan, 1j, [True, False], [0.5, "a"]],
            "horizon": ["1", True, 1.5, 0, 2**31],
            "load": ["1", True, -1, math.nan],
        },
    ),
    "power_of_d": (lambda **options: jaxdlb.heuristic("power_of_d", **options), {"d": NO_SIZE, "weighted": NO_SWITCH}),
    "threshold": (lambda **options: jaxdlb.heuristic("threshold", **options), {"margin": [*NO_NUMBER, 1e39]}),
    "heuristic": (jaxdlb.heuristic, {"name": [None, 1, [], "x", True]}),
    "load_policy": (jaxdlb.load_policy, {"path": [None, 1, b"x", {}, "", "/no"]}),
    "randomised": (
        lambda game=GAME, **ranges: jaxdlb.randomised(game, **ranges),
        {"game": [None, "dlb"], "steal_cost": [1, "x", (1,), ("a", "b"), (math.nan, 1), (0.5, 0.1), (True, False)]},
    ),
    "learners.train": (
        train,
        {"game": [None, "dlb", type(GAME), PARAMS], "config": [None, "mappo", MAPPOConfig], "key": NO_KEY}
        | {"network": [None, "mlp", NetworkConfig, SMALL], "sample_params": [1, PARAMS], "num_updates": NO_SIZE},
    ),
    "evaluate_all": (
        evaluate,
        {"game": [None, "dlb"], "policies": [[], LOCAL, "local", [None], [type(LOCAL)]], "key": NO_KEY}
        | {
            "sample_params": [None, PARAMS],
            "num_rounds": NO_SIZE,
            "num_episodes": [1, *NO_SIZE],
            "warmup": [3, -1, "2"],
        },
    ),
    "record": (
        record,
        {"game": [None, "dlb"], "policy": [None, "local"], "params": [None, {}, RACK.default_params()], "key": NO_KEY}
        | {"num_rounds": NO_SIZE},
    ),
    "modulation": (
        modulate,
        {
            "random_start": NO_SWITCH,
            "scale": [*NO_NUMBER[1:], 0, -1, 1e39],
            "rounds_per_sample": [each for each in NO_SIZE if each != 4.0],
        }
        | {"arrival_prob": ["a", None, -1, 2, []], "workload": [None, 1, PARAMS]},
    ),
    "split": (lambda **given: traces.split(**{"workload": WORKLOAD} | given), {"held_out": [*NO_NUMBER, 0, 1]}),
    "read_counts": (traces.read_counts, {"path": [None, 1, b"x", ""]}),
    "read_tasks": (task_records.read_tasks, {"path": [None, 1, b"x", ""]}),
    "erlang_c": (
        lambda offered_load=0.9, num_servers=1: theory.erlang_c(offered_load, num_servers),
        {"offered_load": NO_NUMBER, "num_servers": NO_SIZE},
    ),
    "one_node_law": (
        lambda arrival_prob=0.3, completion_prob=0.5, longest=4: theory.one_node_law(
            arrival_prob, completion_prob, longest
        ),
        {"arrival_prob": NO_NUMBER, "completion_prob": NO_NUMBER, "longest": [each for each in NO_SIZE if each != 0]},
    ),
    "Discrete": (
        lambda num_choices=3, **given: spaces.Discrete(num_choices, **given),
        {"num_choices": ["3", 2.5, True, None, 0], "over_agents": NO_SWITCH},
    ),
    "Box": (
        lambda low=0, high=1, size=1: spaces.Box(low, high, size),
        {"low": [1, math.nan, "a", None], "high": [math.inf, "b", True], "size": ["3", 2.5, True, None, 0]},
    ),
}
CASES = [
    (name, argument, bad) for name, (_, wrong) in CALLS.items() for argument, each in wrong.items() for bad in each
]
SPOKEN_OF_AS = {"heuristic": "heuristic", "load_policy": "checkpoint"}  # where sentences have another name for it


@pytest.fixture(autouse=True)
def as_for_users(monkeypatch):
    """The suite's own checks of annotations would be faster: users do not have them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def refusal(call, *given, **named):
    with pytest.raises(ValueError) as caught:
        call(*given, **named)
    return str(caught.value)


@pytest.mark.parametrize(("name", "argument", "bad"), CASES, ids=lambda value: repr(value)[:40])
def test_a_bad_argument_is_answered_by_a_sentence_that_begins_with_its_name(name, argument, bad):
    sentence = refusal(CALLS[name][0], **{argument: bad})
    assert sentence.startswith(SPOKEN_OF_AS.get(name, argument)), sentence
    assert " must " in sentence or " needs " in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("bad", [None, 1, "x", {}, jnp.ones(2)], ids=repr)
def test_validate_takes_nothing_but_parameters_of_its_game(bad):
    for game in (GAME, RACK):
        assert refusal(game.validate, bad).startswith("params is ")
    assert refusal(GAME.validate, RACK.default_params()).endswith("it must be the Params of dlb")


def test_a_writer_takes_a_folder_and_what_json_can_hold(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below", None, 1, b"x", ""):
        assert refusal(checkpoint.Writer, folder, {}).startswith("folder is ")
    for about in (None, 1, [1], {"a": object()}):
        assert refusal(checkpoint.Writer, tmp_path / "new", about).startswith("about is ")
    for bad in (0, -1, "2", 2.5, True, None):
        assert refusal(checkpoint.Writer, tmp_path / "new", {}, num_latest=bad).startswith("num_latest is ")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("argument", "wrong"),
    {
        "step": ["1", -1, 1.5, True, None, 2**70],
        "utility": ["1", None, [1.0], True, math.nan, math.inf],
        "state": ["abc", None, {}, {"a": "b"}, {"a": object()}],
        "policy": [{}, {"a": "b"}],
    }.items(),
)
def test_a_step_that_cannot_be_written_is_refused(tmp_path, argument, wrong):
    for bad in wrong:
        assert refusal(write, tmp_path, **{argument: bad}).startswith(f"{argument} ")
    assert checkpoint.steps(tmp_path / "steps") == []
