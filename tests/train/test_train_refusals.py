"""Bad input through the real command line: status 2, one sentence on stderr, and nothing written."""

import errno
import gc
import json
import shutil

import pytest
from command_line import ROOT, TINY, assert_refused, files_of

from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS

GAME_FILES = ", ".join(sorted(path.stem for path in (ROOT / "conf" / "game").glob("*.yaml")))

BAD = {
    # unknown names
    "game=dlbb": f"game is 'dlbb'; it must be one of {GAME_FILES}; did you mean 'dlb'?",
    "game.name=dbl": f"game is 'dbl'; it must be one of {', '.join(GAMES)}; did you mean 'dlb'?",
    "learner=mapo": f"learner is 'mapo'; it must be one of {', '.join(sorted(LEARNERS))}; did you mean 'mappo'?",
    "network=transformer": "network is 'transformer'; it must be one of",
    "network.kind=transformer": "network.kind is 'transformer'; it must be one of auto, mlp, pointer",
    "logger=tensorboard": "logger is 'tensorboard'; it must be one of console, wandb",
    "experiment=refrence": "experiment is 'refrence'; it must be one of",
    "evaluation.heuristics=[power_of_dd]": "evaluation.heuristics[0] is 'power_of_dd'; it must be one of",
    "evaluation.heuristics=[{name: power_of_d, dd: 3}]": "evaluation.heuristics[0].dd is not an option of power_of_d",
    "evaluation.heuristics=[{d: 3}]": "evaluation.heuristics[0] is {'d': 3}; it must be a name",
    "game.params.laod=0.8": "did you mean game.params.load?",
    "learner.learning_rte=1": "learner.learning_rte is no known key; the keys of learner are clip_epsilon",
    "optimiser=adam": "optimiser is no known key; the keys are across, checkpoint_interval",
    "+learner.momentum=1": "learner.momentum is no known key; the keys of learner are",
    "++game.params.colour=1": "game.params.colour is no known key",
    "+colour=red": "colour is no known key",
    "learner/optimiser=adam": "learner/optimiser is no known key",
    "game/params=small": "game/params is no known key",
    "~learner.gamma": "learner.gamma cannot be deleted",
    # wrong types
    "game.num_nodes=1.5": "game.num_nodes is 1.5; it must be an integer",
    "learner.learning_rate=fast": "learner.learning_rate is 'fast'; it must be a number",
    "game.params.load=high": "game.params.load is 'high'; it must be a number",
    "game.params.migration_cost=[1,2]": "game.params.migration_cost is [1, 2]; it must be a number",
    "game.params.completion_prob=fast": "game.params.completion_prob is 'fast'; it must be a number or a list",
    "network.hidden=8": "network.hidden is 8; it must be a list",
    "network.hidden=[wide]": "network.hidden[0] is 'wide'; it must be an integer",
    "learner.share_parameters=3": "learner.share_parameters is 3; it must be true or false",
    "learner.share_parameters=maybe": "learner.share_parameters is 'maybe'; it must be true or false",
    "seed=null": "seed is null; it must be a value other than null",
    "game.params=3": "game.params is 3; it must be a group of keys",
    "learner=3": "learner is 3; it must be a name",
    "=3": "the empty key is 3; it must be a name",
    # numbers out of range
    "game.num_nodes=0": "game.num_nodes is 0; it must be an integer ≥ 1",
    "game.params.arrival_prob=1.5": "game.params.arrival_prob is 1.5; it must be a finite number in [0, 1]",
    "game.params.completion_prob=0": "game.params.completion_prob is 0; it must be a finite number in [1e-06, 1]",
    "game.params.completion_prob=[0.5,0,0.5]": "game.params.completion_prob[1] is 0",
    "game.params.failure_prob=-0.1": "game.params.failure_prob is -0.1",
    "game.params.heartbeat_loss=1": "game.params.heartbeat_loss is 1; it must be a finite number in [0, 1)",
    "game.params.transfer_delay=9": "game.params.transfer_delay is 9; it must be an integer in [0, 4]",
    "game.params.heartbeat_delay=5": "game.params.heartbeat_delay is 5; it must be an integer in [0, 4]",
    "game.params.heartbeat_period=0": "game.params.heartbeat_period is 0; it must be an integer",
    "game.params.completion_prob=[0.5,0.5]": "game.params.completion_prob has shape (2,); it must have shape (3,)",
    "game.params.load=nan": "game.params.load is nan",
    "game.params.drop_cost=inf": "game.params.drop_cost is inf",
    "game.params.completion_prob=[nan,0.5,0.5]": "game.params.completion_prob[0] is nan",
    "learner.learning_rate=nan": "learner.learning_rate is nan",
    "learner.gamma=1.5": "learner.gamma is 1.5",
    "learner.num_minibatches=3": "learner.num_minibatches is 3; it must divide",
    "learner.num_envs=0": "learner.num_envs is 0",
    "learner.num_seeds=0": "learner.num_seeds is 0; it must be an integer ≥ 1",
    "learner.critic=oracle": "learner.critic is 'oracle'",
    "learner.fixed_agents=[3] learner.fixed_policy=local": "learner.fixed_agents[0] is 3; it must be an integer in",
    "learner.fixed_agents=[1]": "learner.fixed_policy is null; it must be given where fixed_agents is [1]",
    "learner.fixed_policy=local": "learner.fixed_agents is empty; it must name agents where fixed_policy is local",
    "learner.fixed_agents=[1] learner.fixed_policy=locl": "learner.fixed_policy is 'locl'; it must be one of",
    "game.randomise.load=[0.9,0.1]": "game.randomise.load has the range 0.9 to 0.1",
    "game.randomise.load=[0.9]": "game.randomise.load",
    "game.randomise.load=[nan,1]": "game.randomise.load[0] is nan",
    "game.randomise.transfer_delay=[0,9]": "game.randomise.transfer_delay is 9",
    "game.randomise.heartbeat_period=[0,3]": "game.randomise.heartbeat_period[0] is 0",
    "game.imbalance=entropy": "game.imbalance is 'entropy'; it must be one of",
    "total_agent_rounds=0": "total_agent_rounds is 0; it must be an integer ≥ 1",
    "logging_interval=0": "logging_interval is 0",
    "checkpoint_interval=-1": "checkpoint_interval is -1",
    "kept_checkpoints=0": "kept_checkpoints is 0; it must be an integer ≥ 1",
    "seed=-1": "seed is -1; it must be an integer in [0, ",
    "evaluation.num_episodes=1": "evaluation.num_episodes is 1",
    "evaluation.warmup=60": "evaluation.warmup is 60; it must be below num_rounds",
    "evaluation.heuristics=[]": "evaluation.heuristics is empty",
    "evaluation.actions=[]": "evaluation.actions is empty; it must hold at least one of drawn, greedy",
    "evaluation.actions=[drawn,likely]": "evaluation.actions[1] is 'likely'; it must be one of drawn, greedy",
    "evaluation.actions=[drawn,drawn]": "evaluation.actions holds 'drawn' twice; it must hold each way to act once",
    "evaluation.actions=greedy": "evaluation.actions is 'greedy'; it must be a list",
    "evaluation.heuristics=[local,{name: power_of_d, d: 0}]": "evaluation.heuristics[1].d is 0; it must be",
    "evaluation.heuristics=[local,local]": "evaluation.heuristics holds 'local' twice",
    "evaluation.heuristics=[oracle_shortest_expected_delay]": "it must hold one that is no oracle",
    "total_agent_rounds=1e300": "total_agent_rounds is 1e+300; it must be at most",
    "learner.learning_rate=1e300": "learner.learning_rate is 1e+300, which float32 holds as inf",
    "network.hidden=[]": "network.hidden is empty; it must hold at least one entry",
    "network.hidden=[4,0]": "network.hidden[1] is 0; it must be an integer ≥ 1",
    # the command line itself
    "learner.num_seeds=2,3": "learner.num_seeds is 2,3; it must be one value",
    "learner=[": "'learner=[' cannot be read",
    "seed": "'seed' cannot be read",
    "run_dir=über": "with quotes around a value of more than letters",
    "--nonsense": "the command line is wrong: unrecognized arguments: --nonsense",
    # files
    "game=dlb_trace": "game.trace.path is not given; it must be the path of a CSV file",
    "game.trace.path=nowhere.csv": "nowhere.csv cannot be read",
    "game.trace.path=load.csv": "load.csv cannot be read",
    "resume=nowhere": "resume is 'nowhere'; it must be the folder of a run, and no such folder exists",
    "logger=wandb logger.mode=of": "logger.mode is 'of'; it must be one of online, offline, disabled",
    "game.params.load=0.5 game.params.arrival_prob=0.3": "game.params.load is 0.5 and arrival_prob is given too",
    "game.params.arrival_modulation.kind=step game.params.arrival_modulation.at=-1": "arrival_modulation.at is -1",
    "game.params.arrival_modulation.kind=sinusoid": "did you mean 'sinusoidal'?",
    "game.params.arrival_modulation.kind=step game.params.arrival_modulation.period=9": "is not a field of "
    "the kind 'step'; its fields are at, before, after",
    "game.name=nowhere.at_all:ENTRY": "'nowhere.at_all' cannot be imported",
    "game.name=jaxdlb.games.dlb:Nothing": "'jaxdlb.games.dlb' has no 'Nothing'",
    "evaluation.heuristics=[jaxdlb.games.dlb:ENTRY]": "it must be package.module:OBJECT of the class Family",
    "total_agent_rounds=2.5": "total_agent_rounds is 2.5; it must be an integer",
    "num_seeds=2": "did you mean learner.num_seeds?",
    "+num_seeds=2": "did you mean learner.num_seeds?",
    "learner.name=mapo": f"learner is 'mapo'; it must be one of {', '.join(LEARNERS)}; did you mean 'mappo'?",
    "resume_step=3": "resume_step is 3; it must not be given without resume",
    "game.randomise.arrival_modulation.period=[1,2]": "game.randomise.arrival_modulation",
    "-m learner.learning_rate=1e-3,fast": "learner.learning_rate is 'fast'; it must be a number",
    "-m game=dlb,dlbb": "game is 'dlbb'",
    "-m seed=1,2 run_dir=somewhere": "run_dir is 'somewhere'; it must not be given in a sweep",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_refused_in_a_sentence_and_nothing_is_written(given, train, here):
    arguments = [given] if "{" in given else given.split(" ")
    assert_refused(train(*TINY, *arguments), BAD[given])
    assert list(here.iterdir()) == []


TRACES = {
    "time,value\n0,1\n60,2\n": "must have one column named timestamp",
    "timestamp,count\n0,1\n60,2\n": "must have one column named value",
    "timestamp,value\n": "it has no rows",
    "": "timestamp",
    "timestamp,value\n0,1\n60,-2\n120,1\n": "line 3: the value is '-2'; it must be a finite number ≥ 0",
    "timestamp,value\n0,1\n60,many\n120,1\n": "line 3: the value is 'many'",
    "timestamp,value\n0,1\n60,nan\n120,1\n": "line 3: the value is 'nan'",
    "timestamp,value\n0,1\n120,2\n60,1\n": "line 4: the timestamp must be later",
    "timestamp,value\n0,1\nnoon,2\n": "line 3: the timestamp is 'noon'",
    "timestamp,value\n0,0\n60,0\n120,0\n": "all its counts are 0",
}


@pytest.mark.parametrize("text", TRACES)
def test_a_trace_that_cannot_be_played_is_refused_with_its_line(text, train, here):
    (here / "trace.csv").write_text(text)
    assert_refused(train(*TINY, "game=dlb_trace", "game.trace.path=trace.csv"), TRACES[text])
    assert list(files_of(here)) == [(here / "trace.csv").relative_to(here)]


GOOD_TRACE = "timestamp,value\n" + "".join(f"{60 * k},{1 + k % 3}\n" for k in range(20))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["game.trace.kind=gaps"], "game.trace.kind is 'gaps'; it must be one of counts, instants"),
        (["game.trace.held_out=1"], "game.trace.held_out is 1"),
        (["game.trace.rounds_per_sample=0"], "game.trace.rounds_per_sample is 0"),
        (["game.trace.kind=instants", "game.trace.bin_seconds=nan"], "game.trace.bin_seconds is nan"),
        (["game.params.arrival_modulation.kind=step"], "it must be constant where a recorded workload is played"),
        (["game.params.load=1.9"], "game.params.load is 1.9"),
    ],
)
def test_settings_that_do_not_suit_a_trace_are_refused(given, sentence, train, here):
    (here / "trace.csv").write_text(GOOD_TRACE)
    assert_refused(train(*TINY, "game=dlb_trace", "game.trace.path=trace.csv", *given), sentence)


def test_a_folder_that_holds_something_is_not_taken_for_a_new_run(train, here):
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine")
    assert_refused(train(*TINY, "run_dir=mine"), "run_dir is 'mine'; it must be a new or empty folder")
    assert_refused(train(*TINY, "run_dir=mine/notes.txt/run"), "mine/notes.txt' is a file")
    assert len(files_of(here)) == 1


def test_a_run_is_not_resumed_from_an_empty_or_a_foreign_folder(train, here):
    (here / "empty").mkdir()
    assert_refused(
        train("resume=empty"), "resume is 'empty'; it must be the folder of a run, and this holds no checkpoint"
    )
    (here / "foreign" / "checkpoints" / "5").mkdir(parents=True)
    (here / "foreign" / "checkpoints" / "5" / "weights.bin").write_bytes(b"other")
    assert_refused(train("resume=foreign"), "foreign holds no config.yaml; it must be the folder of a run")
    (here / "foreign" / "config.yaml").write_text("some: {thing: else}\n")
    assert_refused(train("resume=foreign"), "config.yaml lacks some of the groups")
    assert len(files_of(here)) == 2


@pytest.fixture
def run(mlp_run, here):
    return shutil.copytree(mlp_run, here / "run")


def test_a_torn_checkpoint_is_refused_the_good_one_named_and_nothing_lost(train, run, here):
    manifest = run / "checkpoints" / "12" / "state" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    before = files_of(here)
    assert_refused(train("resume=run"), "step 12 of run/checkpoints is damaged")
    assert "step 8 is whole" in train("resume=run").err
    assert files_of(here) == before
    gc.collect()  # what is left of the reader complains on stderr when it goes, which must not be in another test


def test_a_foreign_step_is_refused(train, run, here):
    about = run / "checkpoints" / "12" / "about" / "metadata"
    about.write_text(json.dumps({"made by": "another program"}))
    before = files_of(here)
    assert_refused(train("resume=run"), "step 12 of run/checkpoints has the format None")
    assert files_of(here) == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("learner.learning_rate=0.5", "learner.learning_rate is 0.5; it must stay"),
        ("game.params.load=0.5", "game.params.load is 0.5; it must stay None in a run that is resumed"),
        ("game=dlb_randomised", "it must stay"),
        ("network.hidden=[9]", "network.hidden is [9]; it must stay [8]"),
        ("seed=3", "seed is 3; it must stay 0"),
        ("resume_step=9", "resume_step is 9; it must be one of those in run/checkpoints: "),
        ("resume=run/checkpoints/12", "it must be the folder of a run (resume_step=… names a step)"),
        ("run_dir=other", "run_dir is 'other'; it must not be given with resume"),
        ("total_agent_rounds=50", "total_agent_rounds is 50; it must be at least the "),
        ("learner.gama=1", "did you mean learner.gamma?"),
    ],
)
def test_a_resumed_run_is_not_made_another_run(given, sentence, train, run, here):
    before = files_of(here)
    assert_refused(train("resume=run", given), sentence)
    assert files_of(here) == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "checkpoint is not given; it must be, as checkpoint=…"),
        (["checkpoint=nowhere"], "checkpoint is 'nowhere'; it must be the folder of a run, and no such folder exists"),
        (["checkpoint=run", "game.num_nodes=5"], "does not fit dlb with 5 agents"),
        (["checkpoint=run", "game=dlbb"], "game is 'dlbb'"),
        (["checkpoint=run", "game.params.laod=1"], "did you mean game.params.load?"),
        (["checkpoint=run", "game.params.transfer_delay=7"], "game.params.transfer_delay is 7"),
        (["checkpoint=run", "evaluation.num_rounds=0"], "evaluation.num_rounds is 0"),
        (["checkpoint=run", "step=3"], "step is 3; it must be one of those in run/checkpoints: "),
        (["checkpoint=run", "output=run"], "output is 'run'; it must be a new or empty folder"),
        (["checkpoint=run", "plots=pareto"], "evaluation.pareto.across is not given; it must be one of utility, "),
        (
            ["checkpoint=run", "plots=pareto", "evaluation.pareto.across=drops", "evaluation.pareto.up=utility"],
            "evaluation.pareto.up is 'utility'; it must be a column in which less is better",
        ),
    ],
)
def test_bad_input_of_an_evaluation_is_refused(given, sentence, evaluate_, run, here):
    before = files_of(here)
    assert_refused(evaluate_(*given), sentence)
    assert files_of(here) == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["output=game.png"], "output is 'game.png'; it must be a file named ….gif"),
        (["output=nowhere/game.gif"], "in a folder that exists"),
        (["policy=powerful"], "policy is 'powerful'; it must be one of"),
        (["policy=[1]"], "policy is 1; it must be a name"),
        (["policy=[]"], "policy is empty; it must be learned, a heuristic, or a list of these"),
        (["rounds=0"], "rounds is 0; it must be an integer ≥ 1"),
        (["seed_index=1"], "seed_index is 1; it must be an integer in [0, 0]"),
    ],
)
def test_bad_input_of_a_drawing_is_refused(given, sentence, render_, run, here):
    before = files_of(here)
    assert_refused(render_("checkpoint=run", *given), sentence)
    assert files_of(here) == before


@pytest.mark.parametrize(
    ("module", "arguments", "sentence"),
    [
        ("train", ["game.params.heartbeat_period=0"], "heartbeat_period is 0"),
        ("train", ["-m", "learner=ippo,mapo"], "learner is 'mapo'"),
        ("train.evaluate", ["checkpoint=nowhere"], "no such folder exists"),
    ],
)
def test_a_process_exits_with_2_after_one_line(module, arguments, sentence, process, here):
    started = process(module, *arguments, cwd=here)
    out, err = started.communicate(timeout=300)
    assert (started.returncode, out, err.count("\n")) == (2, "", 1), err
    assert sentence in err
    assert list(here.iterdir()) == []


def test_a_file_that_cannot_be_used_is_named_without_a_traceback(train, monkeypatch):
    from train import launch

    def full(plan):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/one/metrics.csv")

    monkeypatch.setattr(launch, "execute", full)
    outcome = train(*TINY)
    assert (outcome.status, outcome.err) == (1, "runs/one/metrics.csv cannot be used: No space left on device\n")


def test_a_fault_of_the_program_is_not_taken_for_bad_input(train, monkeypatch):
    from train import launch

    def broken(plan):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(launch, "execute", broken)
    outcome = train(*TINY)
    assert outcome.status == 1
    assert "Traceback" in outcome.err
