"""Several processes train one run: the result of one process, one who writes, stops together, and a watch over all."""

import dataclasses
import shutil
import signal
import threading

import pytest
import together
from command_line import ROUNDS, TINY

from jaxdlb import checkpoint
from train import distributed, errors, relay, watch
from train.loggers import metrics_file
from train.settings import DistributedSettings

LONG = (*TINY, "total_agent_rounds=1e8", "learner.schedule_updates=50", "evaluation.enabled=false")
LONG = (*LONG, "evaluation.held_out_episodes=0", "run_dir=run")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run by two processes of which the second got a SIGTERM after two checkpoints, and what both came to."""
    folder = tmp_path_factory.mktemp("together")
    started = together.start(LONG, folder)
    together.wait_for_checkpoints(started, folder / "run", 2)
    started[1].send_signal(signal.SIGTERM)
    return folder / "run", together.ends(started)


def test_a_signal_to_one_process_stops_all_with_the_same_step_saved_by_the_first(stopped):
    run, ((status, out, err), (other_status, other_out, other_err)) = stopped
    assert (status, other_status) == (143, 143), err + other_err
    reached = checkpoint.steps(run / "checkpoints")[-1]
    assert f"stopped by SIGTERM after update {reached}; to go on: python -m train resume=run" in err
    assert [row["update"] for row in metrics_file.read(run)] == list(range(1, reached + 1))
    assert (out, other_out) == ("", "")
    assert other_err == "SIGTERM: stopping after this interval; once more to stop at once\n"


def test_two_processes_train_to_the_result_of_one(stopped, train, here):
    run, _ = stopped
    outcome = train(*LONG, f"total_agent_rounds={8 * ROUNDS}")
    assert outcome.status == 0, outcome.err
    alone, both = metrics_file.read(here / "run"), metrics_file.read(run)[:8]
    for one, other in zip(alone, both, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"seconds"}:
            assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-5), (name, one["update"])


def test_a_checkpoint_of_two_processes_goes_on_in_one(stopped, train, here):
    run = shutil.copytree(stopped[0], here / "run")
    reached = checkpoint.steps(run / "checkpoints")[-1]
    outcome = train("resume=run", f"total_agent_rounds={(reached + 4) * ROUNDS}")
    assert outcome.status == 0, outcome.err
    assert checkpoint.steps(run / "checkpoints")[-1] == reached + 4
    assert "coordinator: null" in (run / "config.yaml").read_text(encoding="utf-8")


def test_when_a_process_is_killed_the_other_ends_in_time_with_a_sentence_and_a_whole_checkpoint(tmp_path):
    started = together.start((*LONG, "distributed.timeout=3"), tmp_path)
    together.wait_for_checkpoints(started, tmp_path / "run", 1)
    started[1].kill()
    (status, _, err), _ = together.ends(started)
    assert status == watch.STATUS, err
    newest = checkpoint.steps(tmp_path / "run" / "checkpoints")[-1]
    assert err.splitlines()[-1] == (
        "process 1 of 2 has given no sign of life for 3 s (distributed.timeout), so this one (process 0) ends; "
        f"the last good checkpoint is run/checkpoints/{newest}; to go on: python -m train resume=run"
    )
    assert checkpoint.read_about(tmp_path / "run")["step"] == newest


def settings(**given):
    return dataclasses.replace(DistributedSettings(), **given)


THREE = {"coordinator": "node1:1234", "num_processes": 2, "process_id": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"auto": True, "process_id": 1}, "distributed.auto is true; it must be false where distributed.process_id is"),
        ({"coordinator": "a:1"}, "distributed.num_processes is null; it must be given, since distributed.coordinator"),
        (THREE | {"process_id": 2}, "distributed.process_id is 2; it must be between 0 and 1, since distributed.num_"),
        (THREE | {"num_processes": 0}, "distributed.num_processes is 0; it must be"),
        (THREE | {"coordinator": "node1"}, "distributed.coordinator is 'node1'; it must be host:port of process 0"),
        ({"timeout": 0.0}, "distributed.timeout is 0.0; it must be between 1 and 100000 seconds"),
        ({"connect_timeout": float("nan")}, "distributed.connect_timeout is nan; it must be between 1 and 100000"),
        ({"devices": 0}, "distributed.devices is 0; it must be"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        distributed.check(settings(**given))


def test_keys_that_contradict_the_scheduler_are_refused(monkeypatch):
    step = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="process_id is 1; it must be 0 in this step of SLURM, or"):
        distributed.check(settings(**THREE))
    monkeypatch.setenv("SLURM_PROCID", "1")
    distributed.check(settings(**THREE))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["distributed.auto=true"], "distributed.auto is true; it must be false where none of SLURM, Open MPI and Ku"),
        (["-m", "seed=1,2", "distributed.auto=true"], "distributed.auto is True; it must not be given in a sweep"),
        (["distributed.devices=99"], "distributed.devices is 99; it must be at most the 1 that a process has"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_and_leaves_nothing_behind(given, message, train, here):
    outcome = train(*TINY, *given)
    assert (outcome.status, outcome.err.count("\n"), outcome.out) == (2, 1, "")
    assert outcome.err.startswith(message)
    assert list(here.iterdir()) == []


def test_a_coordinator_that_does_not_answer_is_named_after_the_time_out(train, here):
    coordinator = f"127.0.0.1:{together.free_port()}"
    keys = [f"distributed.coordinator={coordinator}", "distributed.num_processes=2", "distributed.process_id=1"]
    outcome = train(*TINY, *keys, "distributed.connect_timeout=1")
    assert outcome.status == 2
    assert outcome.err == (
        f"distributed.coordinator is '{coordinator}'; it must be where process 0 listens, and nobody answered within "
        "1 s (distributed.connect_timeout)\n"
    )


class Store:
    """The store of a coordinator, for processes that are threads here."""

    def __init__(self):
        self.kept, self.frozen = {}, threading.Event()

    def key_value_set(self, key, value, allow_overwrite=False):
        while self.frozen.is_set():
            self.frozen.wait()
        self.kept[key] = value

    def key_value_dir_get(self, folder):
        return [(key, value) for key, value in self.kept.items() if key.startswith(folder)]

    def blocking_key_value_get(self, key, timeout):
        return self.kept[key]


@pytest.fixture
def left(monkeypatch):
    """What would have been said, and the status, by each process that would have ended."""
    told = []
    ended = threading.Event()

    def leave(why, farewell, status=watch.STATUS):
        told.append((why, status))
        ended.set()

    monkeypatch.setattr(watch, "_leave", leave)
    monkeypatch.setattr(watch, "_GRACE", 0.5)
    return told, ended


def test_who_gives_no_sign_of_life_is_given_up(left):
    told, ended = left
    watch.Watch(Store(), 0, 2, timeout=0.3).start()
    assert ended.wait(10)
    assert told[0] == (
        "process 1 of 2 has given no sign of life for 0.3 s (distributed.timeout), so this one (process 0) ends",
        watch.STATUS,
    )


def test_who_ends_for_a_reason_of_its_own_takes_the_others_along(left):
    told, ended = left
    store = Store()
    ill, well = (watch.Watch(store, index, 2, timeout=5.0) for index in (0, 1))
    for each in (ill, well):
        each.start()
    threading.Thread(target=ill.end, args=(1,), daemon=True).start()
    assert ended.wait(10)
    assert told == [("process 0 of 2 ended with status 1", 1)]


def test_those_who_end_together_wait_for_each_other(left):
    told, _ = left
    store = Store()
    both = [watch.Watch(store, index, 2, timeout=5.0) for index in (0, 1)]
    for each in both:
        each.start()
    ending = [threading.Thread(target=each.end, args=(143,)) for each in both]
    for each in ending:
        each.start()
    for each in ending:
        each.join(10)
        assert not each.is_alive()
    assert told == []


def test_a_refusal_of_one_process_stops_all_and_the_first_says_whose_it_is():
    store = Store()
    store.kept["jaxdlb/said/plan/1"] = "seed is -1; it must be more"
    with pytest.raises(errors.Refusal, match="process 1: seed is -1; it must be more"):
        distributed.Group(0, 2, store).together(lambda: "prepared", [])

    def refused():
        raise ValueError("seed is -1; it must be more")

    store.kept["jaxdlb/said/plan/0"] = " "
    with pytest.raises(SystemExit, match="2"):
        distributed.Group(1, 2, store).together(refused, [])
    store.kept["jaxdlb/said/plan/1"] = " "
    assert distributed.Group(0, 2, store).together(lambda: "prepared", []) == "prepared"


def test_a_relay_carries_both_ways_and_tells_when_the_other_end_is_gone():
    gone = threading.Event()
    with relay.socket.create_server(("127.0.0.1", 0)) as server:
        address = relay.address_of(relay.start(server.getsockname()[:2], [gone.set]))
        with relay.socket.create_connection(address) as client:
            far, _ = server.accept()
            client.sendall(b"question")
            assert far.recv(100) == b"question"
            far.sendall(b"answer")
            assert client.recv(100) == b"answer"
            far.close()
            assert gone.wait(10)
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):  # the near end stays open
                client.recv(100)
