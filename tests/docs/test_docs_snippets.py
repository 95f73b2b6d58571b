"""The pages' examples run, their command lines are accepted by the launchers, and their links lead somewhere."""

import contextlib
import importlib
import re
import shlex
import sys
import tomllib
import types

import doc_pages
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from doc_pages import PAGES, ROOT, blocks, name_of
from evaluated_runs import write_run
from omegaconf import DictConfig, OmegaConf

import jaxdlb
from jaxdlb import checkpoint
from jaxdlb.games import GAMES
from jaxdlb.learners import LEARNERS
from jaxdlb.networks.torsos import TORSOS
from train import (
    certify,
    command,
    compare,
    completion,
    compose,
    evaluate,
    frontier,
    hydra_cli,
    inputs,
    jobs,
    launch,
    launchers,
    live_farm,
    own_conf,
    paths,
    render,
    robustness,
    service,
    simulate,
    sweep,
)
from train.multirun import parent

STEPS = (100, 200)
PLACEHOLDERS = {"<run>": "example", "<step>": str(STEPS[-1]), "<N>": "16"}
COMPARED = {"mappo": {}, "ippo": {"learner": {"name": "ippo"}}, "mappo_again": {"seed": 1}}  # further runs
TINY = (
    "network=pointer",
    "network.hidden=[4]",
    "network.critic_hidden=[4]",
    "game.num_nodes=3",
    "learner.num_envs=2",
    "learner.rollout_length=2",
    "learner.num_minibatches=1",
)


def pages_with(language):
    return [pytest.param(page, id=name_of(page)) for page in PAGES if blocks(page, language)]


def filled_in(text):
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return re.sub(r"\.\./shared/data/\w+\.csv", "requests.csv", text)  # real data, which may be absent


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs with one in it: settings, and checkpoints of a pointer network that was never trained."""
    folder = tmp_path_factory.mktemp("docs") / "runs"
    run = folder / PLACEHOLDERS["<run>"]
    run.mkdir(parents=True)
    given = compose.from_conf(TINY)
    plan = launch.prepare(given, TINY)
    state = jax.tree.map(blank, plan.population.template())
    variables = plan.population.learner.policy_variables(state)
    with checkpoint.Writer(
        run / checkpoint.FOLDER, checkpoint.describe(plan.scenario.game, plan.network, True, 1)
    ) as to:
        for step in STEPS:
            to.save(step, state, variables, utility=-1.0)
    compose.save(given, run)
    for name, settings in COMPARED.items():
        write_run(folder / name, [-2.0], **settings)
    return folder


def blank(leaf):
    """Zeros of the shape and type of a leaf, or a random key of zeros."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.zeros(leaf.shape, leaf.dtype)
    data = jax.eval_shape(jax.random.key_data, leaf)
    return jax.random.wrap_key_data(np.zeros(data.shape, data.dtype))


def files_shown():
    """The files of settings that pages show, of which a line says where they lie."""
    texts = [block.text for page in PAGES for block in blocks(page, "yaml")]
    return {found[1]: text for text in texts if (found := re.search(r"^# ([\w/]+\.yaml)$", text, re.MULTILINE))}


@pytest.fixture
def here(runs, tmp_path, monkeypatch):
    """A working directory as the pages presume it, in which the run of the examples lies."""
    (tmp_path / "runs").mkdir()
    for run in (PLACEHOLDERS["<run>"], *COMPARED):
        (tmp_path / "runs" / run).symlink_to(runs / run)
    requests = "".join(f"{60 * k},{1 + k % 3},100,{k}\n" for k in range(40))
    (tmp_path / "requests.csv").write_text("timestamp,value,ContextTokens,GeneratedTokens\n" + requests)
    (tmp_path / "tasks.csv").write_text("timestamp,runtime\n" + "".join(f"{k},{1 + k % 3}\n" for k in range(40)))
    days = "".join(f"{300 * k},{1 + k % 7}\n" for k in range(10 * 288))  # samples of five minutes
    (tmp_path / "days.csv").write_text("timestamp,value\n" + days)
    (tmp_path / "costs.csv").write_text("cost\n" + "".join(f"{1 + k % 4}\n" for k in range(40)))
    (tmp_path / "links.csv").write_text("Throughput\n" + "".join(f"{1 + k % 5}\n" for k in range(40)))
    pods = "".join(f"{10_000_000 + k},{10_000_020 + k},{10_000_000 + k},1000,2048,LS\n" for k in range(40))
    header = "creation_time,deletion_time,scheduled_time,cpu_milli,memory_mib,qos\n"
    (tmp_path / "openb_pod_list.csv").write_text(header + pods)
    (tmp_path / "openb_node_list.csv").write_text("sn,cpu_milli,memory_mib\na,32000,131072\n")
    for path, text in files_shown().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")  # where nobody is logged in
    return tmp_path


@pytest.fixture
def registries(monkeypatch):
    """The registry of torsos, to which an example may add, as it was afterwards."""
    before = dict(TORSOS)
    yield
    TORSOS.clear()
    TORSOS.update(before)


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_runs_from_top_to_bottom(page, here, registries, monkeypatch):
    module = types.ModuleType("__main__")  # a script, whose functions are sent to other processes as they are
    monkeypatch.setitem(sys.modules, "__main__", module)  # where dataclasses look their annotations up
    for block in blocks(page, "python"):
        code = "\n" * (block.line - 1) + filled_in(block.text)
        exec(compile(code, name_of(page), "exec"), module.__dict__)


def check_train(words):
    """What `python -m train` checks before it trains, of each job of a sweep."""
    words = [word for word in words if word != jobs.DRY_RUN]
    given = hydra_cli.parse(sorted(words, key=lambda word: not word.startswith("-")))
    if given.help or given.cfg:
        return
    if given.multirun:
        parent.prepare(compose.understood(words))
    else:
        launch.prepare(compose.from_conf(given.overrides), given.overrides)


def check_tables(words):
    assert words in ([], ["--check"])


def check_nothing(words):
    assert not words


def check_benchmark(module):
    return lambda words: importlib.import_module(module)._parser().parse_args(words)


def check_make(targets):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def check_pip(words):
    if words == ["wheel", "--no-deps", "--wheel-dir", "dist", "."]:
        return
    assert words[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = rf"(?:\.|dist/jaxdlb-{jaxdlb.__version__}-py3-none-any\.whl)"
    extras = re.fullmatch(rf"(?:--constraint constraints.txt )?{source}(?:\[([\w,]+)\])?", " ".join(words[1:]))[1]
    assert not extras or set(extras.split(",")) <= set(project["optional-dependencies"])


def check_jaxdlb(words):
    """The installed command: a launcher by a word, the rest as in a checkout."""
    first, *rest = words
    if first not in launchers.LAUNCHERS:
        assert first in (*command.HELP, *command.VERSION) and not rest
        return
    module = "train" if first == "train" else f"train.{first}"
    COMMANDS[f"python -m {module}"](own_conf.as_override(rest))


def check_eval(words):
    """What a shell evaluates of what the installed command prints."""
    program, _, flag, asked = words[0].removeprefix("$(").removesuffix(")").split()
    assert program == launchers.COMMAND and flag in command.COMPLETION
    assert completion.main(asked) == 0


COMMANDS = {
    "python -m train": check_train,
    "python -m train.certify": certify.prepare,
    "python -m train.compare": compare.prepare,
    "python -m train.evaluate": evaluate.prepare,
    "python -m train.frontier": frontier.prepare,
    "python -m train.inputs": inputs.prepare,
    "python -m train.live_farm": live_farm.prepare,
    "python -m train.render": render.prepare,
    "python -m train.robustness": robustness.prepare,
    "python -m train.service": service.prepare,
    "python -m train.simulate": simulate.prepare,
    "python -m train.sweep": sweep.prepare,
    **{
        f"python -m benchmarks.{name}": check_benchmark(f"benchmarks.{name}")
        for name in (
            "games",
            "learners",
            "buffers",
            "against_c",
            "against_python",
            "events",
            "growth",
            "forms",
            "sharding",
            "memory",
            "training",
            "certificates",
            "near_optimal",
        )
    },
    "python -m docs.tables": check_tables,
    "python -m docs.validation": check_nothing,
    "make": check_make,
    "pip": check_pip,
    "jaxdlb": check_jaxdlb,
    "eval": check_eval,
    ".": lambda words: None,  # .venv/bin/activate
}


SCHEDULERS = ("srun", "mpirun")  # each starts what stands behind its own options


def check_command(line):
    """Check a line of the shell without running it; ValueError or SystemExit if the program would refuse it."""
    words = shlex.split(filled_in(line), comments=True)
    with pytest.MonkeyPatch.context() as patch:
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            patch.setenv(*words.pop(0).split("=", 1))
        if not words:
            return
        if words[0] in SCHEDULERS:
            words = words[words.index("python") :]
        length = 3 if words[:2] == ["python", "-m"] else 1
        COMMANDS[" ".join(words[:length])](words[length:])


def commands(page):
    """The lines of its blocks of shell, and the commands in its prose that are written out."""
    spans = doc_pages.spans(doc_pages.prose(page))
    inline = [span for span in spans if re.fullmatch(r"(python -m [\w.]+|make|pip) [^…]+", span)]
    return [line for block in blocks(page, "sh") for line in block.text.splitlines()] + inline


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES if commands(page)])
def test_the_command_lines_of_a_page_are_accepted(page, here):
    for line in dict.fromkeys(commands(page)):
        with located(page, line):
            check_command(line)


@contextlib.contextmanager
def located(page, line):
    """Name the page and the line that a failure is of."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise AssertionError(f"{name_of(page)}: {line!r} is refused: {error!r}") from error


@pytest.mark.parametrize(
    "line",
    [
        "python -m train game.params.laod=0.8",
        "python -m train learner.num_minibatches=7",
        "python -m train -m seed=1,2 game=dlbb",
        "python -m train.evaluate checkpoint=runs/<run> game.num_nodez=3",
        "python -m train.evaluate checkpoint=runs/nowhere",
        "python -m train.render checkpoint=runs/<run> frames=3",
        "python -m train.compare runs/mappo runs/nowhere",
        "python -m train.certify game=dlb",
        "python -m train.simulate policy=fading_stealing duration=soon",
        "python -m train resume=runs/<run> resume_step=7",
        "python -m benchmarks.games --num-nodez 8",
        "pip install '.[cuda]'",
        "make everything",
        "jaxdlb trian",
        "jaxdlb evaluate --config-dir nowhere checkpoint=runs/<run>",
        "jaxdlb train --config-dir mine experiment=smal",
        'eval "$(jaxdlb train --shell-completion install=csh)"',
        "python -m trian",
    ],
)
def test_a_command_line_that_is_wrong_would_be_noticed(line, here, capsys):
    with pytest.raises((Exception, SystemExit)):
        check_command(line)


@pytest.fixture(scope="module")
def keys():
    """Every key of the command line, whichever choices of the groups are taken."""
    composed = [compose.from_conf(["logger=wandb", f"learner={name}"]) for name in LEARNERS]
    composed += [compose.from_conf([f"game={name}"]) for name in GAMES]
    launchers = (evaluate.EvaluateSettings, render.RenderSettings, robustness.RobustnessSettings, inputs.InputsSettings)
    for schema in (
        *launchers,
        frontier.FrontierSettings,
        simulate.SimulateSettings,
        sweep.SweepSettings,
        compare.CompareSettings,
        certify.CertifySettings,
        live_farm.LiveSettings,
    ):
        composed.append(OmegaConf.create({name: None for name in schema.__annotations__}))
    groups = {folder.relative_to(paths.CONF).as_posix() for folder in paths.CONF.rglob("*") if folder.is_dir()}
    return groups.union(*map(dotted, composed))


def dotted(node, prefix=""):
    """The keys of a node and of all below it."""
    own = {f"{prefix}{name}" for name in node}
    below = [dotted(node._get_node(name), f"{prefix}{name}.") for name in node if is_group(node, name)]
    return own.union(*below)


def is_group(node, name):
    return isinstance(node._get_node(name), DictConfig) and not OmegaConf.is_missing(node, name) and node[name]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_in_the_prose_exist(page, keys):
    named = {span.partition("=")[0] for span in doc_pages.spans(doc_pages.prose(page)) if "=" in span}
    named = {key for key in named if re.fullmatch(r"[a-z_]+([./][a-z_]+)*", key)}
    assert named <= keys


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_paths_lead_somewhere(page):
    for link in doc_pages.links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        assert not anchor or anchor in doc_pages.anchors(target), f"{name_of(page)}: {link}"
    for span in doc_pages.spans(doc_pages.prose(page)):
        if re.fullmatch(r"(jaxdlb|train|conf|tests|docs|benchmarks)/[\w./]*", span):
            assert (ROOT / span).exists(), f"{name_of(page)}: {span}"


def test_the_index_and_the_readme_name_every_page():
    index = {(ROOT / "docs" / link).resolve() for link in doc_pages.links(ROOT / "docs" / "README.md")}
    assert index == {page for page in PAGES if "docs" in page.relative_to(ROOT).parts and page.name != "README.md"}


def test_the_changelog_has_the_version():
    assert f"## [{jaxdlb.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
