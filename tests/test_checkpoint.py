"""Checkpoints: saved and restored is the same, bit for bit; what is not whole is refused with a sentence."""

import contextlib
import itertools
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdlb
from jaxdlb import checkpoint, networks
from jaxdlb.checkpoint import CheckpointError
from jaxdlb.policies.learned import variable_shapes

GAME = jaxdlb.make("dlb", num_nodes=3, max_delay=0)


def make_state(seed=0):
    """A state with what is awkward to save: typed keys, scalars, empty arrays, tuples and an empty container."""
    key = jax.random.key(seed)
    return {
        "key": key,
        "keys": jax.random.split(key, 3),
        "weights": {"kernel": jax.random.normal(key, (5, 7)), "none": ()},
        "pair": (jnp.int32(seed), jnp.array([True, False])),
        "nothing": jnp.zeros((0, 3), jnp.int32),
    }


def write(folder, steps, *, utilities=None, about=None, policy=None, **options):
    with checkpoint.Writer(folder / "checkpoints", about or {"game": "any"}, **options) as writer:
        for index, step in enumerate(steps):
            utility = -1.0 if utilities is None else utilities[index]
            writer.save(step, make_state(step), {"w": jnp.full(3, step)} if policy is None else policy, utility)
    return folder


def plain(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(plain(one), plain(other))


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    return write(tmp_path_factory.mktemp("whole"), [1, 2])


@pytest.fixture
def run(two_steps, tmp_path):
    return Path(shutil.copytree(two_steps, tmp_path / "run"))


def test_a_restored_state_is_the_saved_one_with_keys_types_and_empty_arrays(run):
    step, restored = checkpoint.restore_state(run, jax.eval_shape(make_state))
    assert step == 2
    assert_same(restored, make_state(2))


def test_keys_go_on_with_the_same_stream(run):
    _, restored = checkpoint.restore_state(run, make_state())
    np.testing.assert_array_equal(jax.random.normal(restored["key"], (4,)), jax.random.normal(jax.random.key(2), (4,)))


@pytest.mark.parametrize("inside", ["", "checkpoints", "checkpoints/1"])
def test_a_path_may_name_the_run_its_checkpoints_or_one_step(run, inside):
    step, _ = checkpoint.restore_state(run / inside, make_state())
    assert step == (1 if inside.endswith("1") else 2)


def test_the_newest_and_the_best_are_kept(tmp_path):
    folder = write(tmp_path, [1, 2, 3, 4, 5], utilities=[-5, -1, -4, -3, -2]) / "checkpoints"
    assert checkpoint.steps(folder) == [2, 4, 5]


def test_the_best_is_kept_by_a_writer_that_goes_on_later(tmp_path):
    write(tmp_path, [1, 2, 3], utilities=[-1, -2, -3])
    write(tmp_path, [4, 5, 6], utilities=[-4, -5, -6])
    assert checkpoint.steps(tmp_path / "checkpoints") == [1, 5, 6]


def test_the_best_step_is_the_newest_of_those_with_the_highest_score(tmp_path):
    folder = write(tmp_path, [1, 2, 3, 4], utilities=[-3, -1, -1, -2], num_latest=9) / "checkpoints"
    assert checkpoint.best_step(folder) == 3
    (folder / "3" / "about" / "metadata").write_text("torn")
    assert checkpoint.best_step(folder) == 2


def test_a_utility_that_is_not_finite_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="utility is nan"):
        write(tmp_path, [1], utilities=[float("nan")])
    assert checkpoint.steps(tmp_path / "checkpoints") == []


def test_a_step_half_written_is_no_step_and_is_cleared_by_the_next_writer(run):
    leftover = run / "checkpoints" / "3.orbax-checkpoint-tmp"
    shutil.copytree(run / "checkpoints" / "2", leftover)
    assert checkpoint.restore_state(run, make_state())[0] == 2
    write(run, [4])
    assert not leftover.exists()


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint is '.*nowhere'; .* no such folder exists"):
        checkpoint.locate(tmp_path / "nowhere")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: (path / "checkpoints").mkdir()])
def test_an_empty_folder_is_refused(tmp_path, make):
    make(tmp_path)
    with pytest.raises(CheckpointError, match="this holds no checkpoint"):
        checkpoint.restore_state(tmp_path, make_state())


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "weights.bin").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"step 7 .* no checkpoint of jaxdlb"):
        checkpoint.restore_state(tmp_path, make_state())


def test_another_format_is_refused(run):
    about = run / "checkpoints" / "2" / "about" / "metadata"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="has the format 99; it must be 1"):
        checkpoint.restore_state(run, make_state())


def _largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("part", ["state", "about"])
def test_a_torn_step_is_refused_and_the_whole_one_is_named_and_still_there(run, damage, part, capfd):
    folder = run / "checkpoints" / "2" / part
    damage(folder / "manifest.ocdbt" if part == "state" else folder / "metadata")
    with pytest.raises(CheckpointError, match=r"step 2 .* damaged.*step 1 is whole") as error:
        checkpoint.restore_state(run, make_state())
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    assert_same(checkpoint.restore_state(run, make_state(), step=1)[1], make_state(1))


def test_bytes_that_changed_on_disk_are_noticed(tmp_path):
    state = {"w": jax.random.normal(jax.random.key(0), (5000,))}
    with checkpoint.Writer(tmp_path / "checkpoints", {}) as writer:
        writer.save(1, state, state, -1.0)
    _flip(_largest(tmp_path / "checkpoints" / "1" / "state"))
    with pytest.raises(CheckpointError, match=r"damaged.*no other step there is whole"):
        checkpoint.restore_state(tmp_path, state)


def test_a_step_that_is_not_there_is_refused_with_those_that_are(run):
    with pytest.raises(CheckpointError, match=r"step is 9; it must be one of those in .*: 1, 2"):
        checkpoint.restore_state(run, make_state(), step=9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": jnp.zeros(2)}, "lacks more"),
        ({"pair": (jnp.int32(0), jnp.zeros(2))}, r"pair.1 as bool \[2\]; it must be float32 \[2\]"),
        ({"weights": {"kernel": jnp.zeros((5, 8)), "none": ()}}, r"weights.kernel .* must be float32 \[5, 8\]"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_its_first_difference(run, change, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore_state(run, make_state() | change)


def test_steps_after_the_one_resumed_are_moved_not_lost(run):
    assert checkpoint.set_aside_after(run / "checkpoints", 1, run / "set_aside") == [2]
    assert checkpoint.steps(run / "checkpoints") == [1]
    assert checkpoint.steps(run / "set_aside") == [2]


def save_policy(folder, network, num_seeds=1, game=GAME, unsaid=()):
    """A run's folder that holds a random policy; with several seeds the arrays of the k-th are k."""
    rng = np.random.default_rng(0)
    shapes = variable_shapes(game, networks.build_actor(game, network))
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape), leaf.dtype), shapes)
    if num_seeds > 1:
        seeds = jnp.arange(num_seeds, dtype=jnp.float32)
        variables = jax.tree.map(
            lambda leaf: jnp.broadcast_to(seeds.reshape(-1, *[1] * leaf.ndim), (num_seeds, *leaf.shape)), variables
        )
    about = checkpoint.describe(game, network, True, num_seeds)
    for setting in unsaid:
        del about["network"][setting]
    return write(folder, [1], about=about, policy=variables), variables


def act(policy, game):
    params = game.default_params(transfer_delay=0)
    _, timestep = game.reset(jax.random.key(0), params)
    return policy.act(jax.random.key(1), policy.init(game), timestep.observation, params)[1]


def test_a_loaded_policy_acts_with_the_saved_arrays(tmp_path):
    folder, variables = save_policy(tmp_path, networks.NetworkConfig("mlp", hidden=(8,)))
    policy = jaxdlb.load_policy(folder)
    assert_same(policy.variables, variables)
    assert act(policy, GAME).dispatch.shape == (3,)


def test_a_checkpoint_older_than_a_setting_of_networks_acts_as_it_did(tmp_path):
    plain = networks.NetworkConfig("mlp", hidden=(8,))
    folder, variables = save_policy(tmp_path, plain, unsaid=["autoregressive"])
    assert_same(jaxdlb.load_policy(folder).variables, variables)


def test_one_of_several_seeds_is_loaded(tmp_path):
    folder, _ = save_policy(tmp_path, networks.NetworkConfig("mlp", hidden=(8,)), num_seeds=3)
    for seed in (0, 2):
        assert all(
            bool(jnp.all(leaf == seed)) for leaf in jax.tree.leaves(jaxdlb.load_policy(folder, seed=seed).variables)
        )
    with pytest.raises(ValueError, match="seed is 3; it must be one of the trained seeds, 0 to 2"):
        jaxdlb.load_policy(folder, seed=3)


@pytest.mark.parametrize(
    ("greedy", "one", "several"),
    [
        (False, "learned", ["learned(seed=0)", "learned(seed=1)"]),
        (True, "learned(greedy)", ["learned(greedy, seed=0)", "learned(greedy, seed=1)"]),
    ],
)
def test_the_name_of_a_loaded_policy_says_how_it_acts_and_of_several_its_seed(greedy, one, several, tmp_path):
    folder, _ = save_policy(tmp_path, networks.NetworkConfig("mlp", hidden=(8,)), num_seeds=2)
    assert [each.name for each in checkpoint.load_policies(folder, greedy=greedy)] == several
    assert jaxdlb.load_policy(folder, greedy=greedy).name == one


def test_a_pointer_policy_acts_at_another_number_of_nodes_and_an_mlp_is_refused(tmp_path):
    larger = jaxdlb.make("dlb", num_nodes=5, max_delay=0)
    pointer, _ = save_policy(tmp_path / "pointer", networks.NetworkConfig(kind="pointer", hidden=(8, 8)))
    assert act(jaxdlb.load_policy(pointer, game=larger), larger).steal.shape == (5,)
    mlp, _ = save_policy(tmp_path / "mlp", networks.NetworkConfig(kind="mlp", hidden=(8,)))
    with pytest.raises(ValueError, match="does not fit dlb with 5 agents"):
        jaxdlb.load_policy(mlp, game=larger)


ACT_IN_THREE_LINES = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hydra", "omegaconf", "wandb", "matplotlib", "train"):
            raise ImportError(f"{name} must not be needed")

sys.meta_path.insert(0, Refuse())
import jax, jaxdlb
game = jaxdlb.make("dlb", num_nodes=3, max_delay=0)
params = game.default_params(transfer_delay=0)
state, timestep = game.reset(jax.random.key(0), params)

policy = jaxdlb.load_policy(sys.argv[1])
carry = policy.init(game)
carry, action = policy.act(jax.random.key(1), carry, timestep.observation, params)
print(action.dispatch.shape)
"""


def test_a_policy_is_loaded_and_acts_without_hydra_wandb_matplotlib_or_train(tmp_path):
    folder, _ = save_policy(tmp_path, networks.NetworkConfig("mlp", hidden=(8,)))
    done = subprocess.run(
        [sys.executable, "-c", ACT_IN_THREE_LINES, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(3,)"


def test_a_step_is_named_by_its_number_as_it_is_written(tmp_path):
    for name in ("3", "20", "007", "²", "٣", "3.partial"):
        (tmp_path / name).mkdir()
    assert checkpoint.steps(tmp_path) == [3, 20]


def test_a_step_that_is_not_kept_is_renamed_before_it_is_deleted_and_what_a_kill_leaves_is_removed(
    tmp_path, monkeypatch
):
    folder = tmp_path / "checkpoints"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **options: None)  # the kill comes before the first file goes
        write(tmp_path, [1, 2, 3])
    assert checkpoint.steps(folder) == [2, 3]
    assert_same(checkpoint.restore_state(folder / ".deleted", make_state(), step=1)[1], make_state(1))
    (folder / ".deleted" / "1" / "state" / "manifest.ocdbt").unlink()  # or in the middle
    (folder / ".deleted" / "mine").mkdir()
    (folder / "notes.txt").write_text("mine")
    write(tmp_path, [4])
    assert checkpoint.steps(folder) == [3, 4]
    assert {path.name for path in folder.iterdir()} == {"3", "4", ".deleted", "notes.txt"}
    assert [path.name for path in (folder / ".deleted").iterdir()] == ["mine"]


def test_a_full_disk_is_an_error_that_names_the_step_and_the_one_before_is_kept(tmp_path):
    state = {"w": jax.random.normal(jax.random.key(0), (100_000,))}
    write(tmp_path, [1])
    with pytest.raises(OSError, match="File too large") as error, full_disk(100_000):
        write_one(tmp_path, 2, state)
    assert error.value.filename == str(tmp_path / "checkpoints" / "2")
    assert checkpoint.steps(tmp_path / "checkpoints") == [1]
    assert_same(checkpoint.restore_state(tmp_path, make_state())[1], make_state(1))
    write_one(tmp_path, 2, state)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1", "2"}


def write_one(folder, step, state):
    with checkpoint.Writer(folder / "checkpoints", {}) as writer:
        writer.save(step, state, state, -1.0)


@contextlib.contextmanager
def full_disk(size):
    """No file can grow beyond so many bytes, which programs meet as they meet a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_steps_are_ordered_by_their_numbers_where_the_clock_goes_back(tmp_path, monkeypatch):
    hours = itertools.count(10**18, -3600 * 10**9)
    monkeypatch.setattr(time, "time_ns", lambda: next(hours))
    write(tmp_path, [1, 2])
    write(tmp_path, [3, 4], utilities=[-2, -2])
    assert checkpoint.steps(tmp_path / "checkpoints") == [2, 3, 4]  # the best and the two newest
    assert checkpoint.restore_state(tmp_path, make_state())[0] == 4
