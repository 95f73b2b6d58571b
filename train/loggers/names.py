"""The names that wandb takes; what it refuses it would only tell once training has begun, or when a run is synced."""

from typing import Any

_LONGEST, _LONGEST_TAG = 128, 64  # characters
_RESERVED = "/\\#?%:"


def check(settings: Any) -> None:
    """Check what a run is called and sorted by at wandb.

    Raises:
        ValueError: names the key, its value and what is allowed.
    """
    _check("logger.project", settings.project, _LONGEST, _RESERVED)
    if settings.entity is not None:
        _check("logger.entity", settings.entity, _LONGEST, _RESERVED)
    if settings.group is not None:
        _check("logger.group", settings.group, _LONGEST)
    for index, tag in enumerate(settings.tags):
        _check(f"logger.tags[{index}]", tag, _LONGEST_TAG)


def _check(key: str, name: str, longest: int, reserved: str = "") -> None:
    if not name.strip() or len(name) > longest or set(reserved) & set(name):
        without = f" without any of {' '.join(reserved)}" if reserved else ""
        shown = name if len(name) <= longest else f"{name[:longest]}…"
        raise ValueError(f"{key} is {shown!r}; it must be 1 to {longest} characters{without}")
