"""The project as it is installed: its wheel and its source distribution, built from a copy of what they are made of."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from processes import ROOT

FOLDERS = ("jaxdlb", "train", "conf")
FILES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def source(folder: Path) -> Path:
    """A copy of the project's source, in which building leaves what it leaves."""
    folder.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_stray.py").touch()  # setuptools takes tests with it where it may
    return folder


def built(kind: str, tree: Path, folder: Path) -> Path:
    """The `wheel` or the `sdist` of a source tree, by the backend that pyproject.toml names."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True)
    (found,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


def unpacked_sdist(sdist: Path, folder: Path) -> Path:
    """The source tree that a source distribution holds."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel by its path, but for the list of the files themselves."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}


def expected() -> dict[str, bytes]:
    """What a wheel holds beside what describes it: each module and each file of settings, where it is installed."""
    modules = [path for folder in ("jaxdlb", "train") for path in (ROOT / folder).rglob("*.py")]
    settings = [*(ROOT / "conf").rglob("*.yaml"), ROOT / "jaxdlb" / "py.typed"]
    return {_installed(path.relative_to(ROOT)): path.read_bytes() for path in (*modules, *settings)}


def _installed(path: Path) -> str:
    place = {"train": "jaxdlb_train", "conf": "jaxdlb_train/conf"}.get(path.parts[0], path.parts[0])
    return "/".join([place, *path.parts[1:]])
