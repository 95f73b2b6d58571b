"""hydra's plugins: what must be installed for a choice of launcher or sweeper."""

from collections.abc import Mapping

_EXTRAS: Mapping[str, Mapping[str, tuple[str, str]]] = {  # for each choice its package, and the extra that installs it
    "hydra/launcher": {
        "joblib": ("hydra-joblib-launcher", "sweep"),
        "submitit_local": ("hydra-submitit-launcher", "slurm"),
        "submitit_slurm": ("hydra-submitit-launcher", "slurm"),
        "ray": ("hydra-ray-launcher", "ray"),
        "ray_aws": ("hydra-ray-launcher", "ray"),
    },
    "hydra/sweeper": {"optuna": ("hydra-optuna-sweeper", "sweep")},
}


def not_installed(group: str, choice: str) -> str | None:
    """The sentence on a choice of hydra's that is not there since its package is not; None for any other."""
    known = _EXTRAS.get(group, {})
    if choice not in known:
        return None
    package, extra = known[choice]
    return f"{group} is {choice!r}; it must be installed for that, as {package}: pip install 'jaxdlb[{extra}]'"
