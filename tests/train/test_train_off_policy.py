"""A learner with a replay buffer, by command line: a run that is cut short goes on bit for bit; what is refused."""

import json
import shutil

import numpy as np
import pytest
from command_line import TINY, assert_refused

from jaxdlb import checkpoint
from train.loggers import metrics_file

# That of the other launcher tests, but for what belongs to another learner.
LINE = (
    *(each for each in TINY if "learner." not in each and "total" not in each and "interval" not in each),
    "learner=dqn",
    "learner.num_envs=4",
    "learner.batch_size=8",
    "learner.replay_length=8",
    "learner.warmup_steps=4",
    "logging_interval=2",
    "checkpoint_interval=2",
    f"total_agent_rounds={6 * 4 * 4 * 3}",
    "evaluation.enabled=false",
    "resume=auto",
    "run_dir=run",
)


def test_a_run_that_was_killed_goes_on_bit_for_bit_with_its_buffer(train, here):
    assert train(*LINE).status == 0
    about = checkpoint.read_about("run")
    assert (about["heads"], about["step"]) == ("values", 6)
    shutil.copytree("run", "whole")
    shutil.rmtree("run/checkpoints/6")
    outcome = train(*LINE)
    assert outcome.status == 0 and "update 4/6" in outcome.err, outcome.err
    assert checkpoint.read_about("run") == about  # with the checksums of the state, buffer and all
    rows, whole = (metrics_file.read(here / folder) for folder in ("run", "whole"))
    for one, other in zip(rows, whole, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    policy = checkpoint.load_policy("run", step=6)
    assert policy.actor.heads == "values"
    assert all(np.isfinite(row["loss"]) for row in rows)


def test_a_kind_of_heads_that_is_not_known_is_refused(train, here):
    assert train(*LINE).status == 0
    path = here / "run" / "checkpoints" / "6" / "about" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"heads": "unheard"}))
    with pytest.raises(checkpoint.CheckpointError, match="heads is 'unheard'; it must be one of stochastic"):
        checkpoint.load_policy("run", step=6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["learner=sac"],
            "learner is 'sac'; it must be one of mappo, ippo, consensus, dqn in dlb, whose actions are in",
        ),
        (["learner=dqn", "network=mlp_gru"], "network.recurrent is true; it must be false here, since steps drawn"),
        (["learner=dqn", "network.autoregressive=true"], "network.autoregressive is true; it must be false here"),
        (
            ["learner=dqn", "learner.replay_length=402"],
            "learner.replay_length is 402; it must be a multiple of rollout",
        ),
        (["learner=dqn", "learner.max_replay_gib=0.000001"], "learner.max_replay_gib is 1e-06; it must be at least "),
        (
            ["learner=dqn", "learner.learning_rate=1"],
            "learner.learning_rate is 1; it must be a finite number in [0, 0.125",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(train, here, settings, sentence):
    assert_refused(train(*settings), sentence)
    assert not list(here.iterdir())
