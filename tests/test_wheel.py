"""What is built to be installed: the wheel, the wheel by way of the source distribution, and the command in them."""

import subprocess
import sys
import zipfile

import pytest
import wheels
from processes import own_environment

COMMAND = "import sys; from jaxdlb_train.command import main; sys.exit(main())"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return wheels.source(tmp_path_factory.mktemp("source") / "jaxdlb")


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    return wheels.built("wheel", tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder of installed packages that holds the wheel."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def jaxdlb(site, tmp_path):
    """Starts the installed command in an empty folder; `before` is run in front of it."""

    def start(*arguments, before=""):
        return subprocess.run(
            [sys.executable, "-c", before + COMMAND, *arguments],
            cwd=tmp_path,
            env=own_environment(site),
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def test_the_wheel_holds_all_modules_and_settings_and_nothing_else(wheel):
    found = {path: content for path, content in wheels.contents(wheel).items() if ".dist-info/" not in path}
    assert found == wheels.expected()


def test_a_wheel_by_way_of_the_source_distribution_is_the_same(wheel, tree, tmp_path):
    folders = [tmp_path / name for name in ("sdist", "source", "wheel")]
    unpacked = wheels.unpacked_sdist(wheels.built("sdist", tree, folders[0]), folders[1])
    assert not (unpacked / "tests").exists()
    assert wheels.contents(wheels.built("wheel", unpacked, folders[2])) == wheels.contents(wheel)


def test_the_installed_command_has_its_settings_with_it_and_says_its_own_name(jaxdlb):
    done = jaxdlb("train", "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Train: `jaxdlb train [group=choice …] [key=value …]`")
    assert "  experiment: " in done.stdout and "python -m" not in done.stdout


@pytest.mark.parametrize("module", ["hydra", "rich"])
def test_without_the_extra_the_command_says_what_brings_it(module, jaxdlb):
    done = jaxdlb(
        "train",
        before=f"import importlib.util as u; f = u.find_spec; "
        f"u.find_spec = lambda name: None if name == {module!r} else f(name); ",
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"jaxdlb train needs {module}, which this environment lacks; "
        "pip install 'jaxdlb[train]' brings what is missing\n"
    )
