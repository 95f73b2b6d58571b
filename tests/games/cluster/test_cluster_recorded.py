"""Recorded tasks and machines: what is played of them, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdlb.games.cluster import Cluster, Recorded, Replay, nodes_from_alibaba

GAME = Cluster(5, 3, 2, 2)
TASKS = """Time,Run_Time,cores,memory,class,note
5,4,1,8,production,a
7,2,0.5,4,batch,b

7,6,2,16,2,c
10,8,4,32,Burstable,d
11,1,1,1,BE,e
"""
PODS_HEADER = "name,cpu_milli,memory_mib,qos,creation_time,deletion_time,scheduled_time\n"
PODS = f"""{PODS_HEADER}old,9000,9216,LS,1000,2000,1001
p0,2000,2048,LS,10000000,10000011,10000001
p1,500,0,BE,10000004,10000024,10000004
never,1000,1024,LS,10000005,10000020,
p2,4000,204800,Guaranteed,10000006,10000036,10000006
p3,1000,1024,Burstable,10000010,10900000,10000010
"""
MACHINES = "sn,cpu_milli,memory_mib\nb,96000,393216\na,96000,393216\nc,8000,32768\nd,32000,262144\n"


@pytest.fixture
def written(tmp_path):
    """A function that writes a file and gives its path."""

    def write(text, name="tasks.csv"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def near(*numbers):
    return pytest.approx(list(numbers), rel=1e-5)


def test_a_file_of_tasks_is_played_in_units_of_the_mean_gap(written):
    replay = Replay.from_csv(written(TASKS))
    assert replay.gap.tolist() == near(1, 2 / 1.5, 0, 2, 1 / 1.5)
    assert replay.run_time.tolist() == [4, 2, 6, 8, 1]
    assert replay.memory.tolist() == [8, 4, 16, 32, 1]
    assert replay.task_class.tolist() == [0, 1, 2, 1, 2]
    scaled = Replay.from_csv(written(TASKS), exec_mean=21.0)
    assert scaled.run_time.tolist() == near(20, 10, 30, 40, 5)


def test_gaps_add_up_to_times(written):
    gaps = (
        TASKS.replace("Time,", "wait,", 1).replace("\n7,6", "\n0,6").replace("\n10,8", "\n3,8").replace("\n11,", "\n1,")
    )
    path = written(gaps.replace("\n7,2", "\n2,2"))
    assert Replay.from_csv(path, gap_column="wait").gap.tolist() == Replay.from_csv(written(TASKS, "b")).gap.tolist()


def test_a_record_begins_anew_and_at_a_random_row(written):
    rows = Replay.from_csv(written(TASKS), random_start=False)
    params = GAME.default_params(memory=64, workload=rows, arrival_rate=2)
    state, _ = jax.jit(GAME.reset)(jax.random.key(0), params)
    assert state.window.run_time.tolist() == [4, 2, 6]
    assert state.window.arrives.tolist() == near(0.5, 0.5 + 1 / 1.5, 0.5 + 1 / 1.5)
    numbers = jnp.arange(12, dtype=jnp.int32)
    played = rows.tasks(jax.random.key(0), numbers, params)
    assert played.run_time.tolist() == [4, 2, 6, 8, 1] * 2 + [4, 2]
    anywhere = rows.replace(random_start=jnp.asarray(True))
    first = jax.vmap(lambda key: anywhere.tasks(key, numbers[:1], params).run_time[0])
    starts = np.asarray(first(jax.random.split(jax.random.key(1), 500)))
    assert sorted(set(starts.tolist())) == [1, 2, 4, 6, 8]
    assert all(abs((starts == each).sum() - 100) < 4.5 * 80**0.5 for each in (1, 2, 4, 6, 8))


def test_alibabas_pods_are_those_scheduled_late_enough_capped_and_rescaled(written):
    replay = Replay.from_alibaba(written(PODS), exec_mean=10.0)
    times = np.minimum([10, 20, 30, 899_990], 20 * 25)  # the median is 25
    np.testing.assert_allclose(replay.run_time, times * 10 / times.mean(), rtol=1e-5)
    assert replay.cores.tolist() == near(2, 0.5, 4, 1)
    assert replay.memory.tolist() == near(2, 0.1, 200, 1)
    assert replay.task_class.tolist() == [0, 2, 0, 1]
    assert replay.gap.tolist() == near(1, 1.2, 0.6, 1.2)


def test_tasks_that_no_node_can_hold_are_left_out_and_counted(written):
    path = written(PODS)
    with pytest.warns(
        UserWarning, match="1 of 4 tasks were left out, since no node has the memory for them; .* 128 GB"
    ):
        replay = Replay.from_alibaba(path, most_memory=128.0)
    assert replay.cores.tolist() == near(2, 0.5, 1)
    assert replay.gap.tolist() == near(1, 0.8, 1.2)


def test_machines_are_taken_evenly_from_those_in_order(written):
    path = written(MACHINES)
    columns = nodes_from_alibaba(path, 4)
    assert columns["cores"].tolist() == [8, 32, 96, 96]
    assert columns["memory"].tolist() == [32, 256, 384, 384]
    assert columns["tier"].tolist() == [2, 1, 0, 0]
    assert columns["idle_power"].tolist() == [48, 192, 576, 576]
    assert columns["dynamic_power"].tolist() == [72, 288, 864, 864]
    assert nodes_from_alibaba(path, 2)["cores"].tolist() == [32, 96]
    assert nodes_from_alibaba(path, 8)["cores"].tolist() == [8, 8, 32, 32, 96, 96, 96, 96]
    params = GAME.default_params(**nodes_from_alibaba(path, 5))
    assert params.speed.tolist() == [1] * 5 and params.network_delay.tolist() == near(*[0.02] * 5)


def test_settings_part_the_record_in_units_of_what_is_trained_on(written):
    machines = written(MACHINES, "machines.csv")
    recorded = Recorded(path=written(TASKS), kind="csv", nodes=machines, held_out=0.4, exec_mean=8.0)
    assert recorded.with_record({"slot": 2}) == {"slot": 2}
    train_on, held_out = recorded.parts(GAME.default_params())
    assert train_on.workload.run_time.tolist() == near(8, 4, 12)
    assert held_out.workload.run_time.tolist() == near(16, 2)
    assert train_on.workload.gap.tolist() == near(1, 2, 0)
    assert held_out.workload.gap.tolist() == near(1, 1)
    assert train_on.cores.tolist() == [8, 32, 96, 96, 96]
    for params in (train_on, held_out):
        GAME.validate(params)


def test_without_paths_nothing_changes():
    params = GAME.default_params()
    assert Recorded().parts(params) == (params, params)


@pytest.mark.parametrize(
    ("settings", "fields", "sentence"),
    [
        ({"path": "a"}, {"workload": {"kind": "replay"}}, "workload is given; it must be synthetic, as by default, "),
        ({"nodes": "a"}, {"cores": 3}, "cores is given; it must not be where a file of machines sets it"),
        ({"nodes": "a"}, {"cloud_delay": 1}, "cloud_delay is given; it must not be where a file of machines sets it"),
    ],
)
def test_what_the_record_sets_is_not_given_besides(settings, fields, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        Recorded(**settings).with_record(fields)


@pytest.mark.parametrize(("name", "what"), [("path", "tasks.csv"), ("nodes", "machines.csv")])
def test_an_empty_path_must_be_given(name, what):
    with pytest.raises(ValueError, match=f"^{name} is not given; it must be the path of a CSV file"):
        Recorded(**{name: ""}).parts(GAME.default_params())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("cores,", "kernels,", "line 1: its columns are .*; it must have one column named cores, or cores_column must"),
        ("7,2,", "7,-2,", "line 3: the run_time is '-2'; it must be a finite number ≥ 0"),
        ("7,2,", "7,nan,", "line 3: the run_time is 'nan'; it must be a finite number ≥ 0"),
        ("7,2,", "7,0,", r"line 3: the run_time is 0; it must be a finite number in \[0.001, 1000000\]"),
        ("10,8,", "6,8,", "line 6: the time must be no earlier than that of the task before, and is 1 s earlier"),
        ("batch", "bulk", "line 3: the class is 'bulk'; it must be one of production, batch, best_effort, ls, "),
        ("5,4,1", "5,4,1,1", "line 2: it has 7 fields; it must have 6, as the header"),
    ],
)
def test_a_file_of_tasks_that_cannot_be_played_is_refused_with_the_line(old, new, sentence, written):
    path = written(TASKS.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"^{re.escape(path)}, {sentence}"):
        Replay.from_csv(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            PODS_HEADER + "p,1,1,LS,20000000,20000009,20000001\n",
            ": 1 of its tasks can be played; there must be at least 2",
        ),
        (PODS_HEADER + "p,1,1,LS,2,9,1\n", ": 0 of its tasks can be played; there must be at least 2"),
        (PODS.replace("10000004,10000024", "10000004,x"), ", line 4: the deletion_time is 'x'; it must be a finite"),
        (PODS.replace("BE", "XX"), ", line 4: the qos is 'XX'; it must be one of"),
        (PODS.replace("qos", "class"), ", line 1: its columns are .*; it must have one column named qos$"),
    ],
)
def test_a_list_of_pods_that_cannot_be_played_is_refused(text, sentence, written):
    path = written(text)
    with pytest.raises(ValueError, match=f"^{re.escape(path)}{sentence}"):
        Replay.from_alibaba(path)


def test_times_and_gaps_are_not_both_named(written):
    with pytest.raises(ValueError, match=r"^gap_column is 'gap'; it must not be given where time_column is given"):
        Replay.from_csv(written(TASKS), time_column="time", gap_column="gap")
