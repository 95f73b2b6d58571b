"""Things by name; an unknown name is refused, and the message suggests the nearest known one."""

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from jaxdlb.checks import did_you_mean

Entry = TypeVar("Entry")


class Catalogue(Mapping[str, Entry], Generic[Entry]):
    """All things of one kind, by name; `noun` is what messages call them.

    With an entry-point `group`, `find` accepts more than the listed names: any object as `package.module:OBJECT`, and
    whatever installed packages register in that group. All entries must be instances of the class `of`.
    """

    def __init__(self, noun: str, entries: Mapping[str, Entry], *, group: str | None = None, of: type = object) -> None:
        self._noun = noun
        self._entries = dict(entries)
        self._group = group
        self._of: Any = of

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._noun}: {', '.join(self)})"

    def find(self, name: object) -> Entry:
        """The entry called `name`.

        Raises:
            ValueError: there is none (the message lists the known names and suggests the nearest), it cannot be
                imported, or it is of the wrong class.
        """
        if isinstance(name, str) and name in self._entries:
            return self._entries[name]
        registered = self._registered()
        if isinstance(name, str) and (name in registered or (self._group is not None and ":" in name)):
            return self._imported(name, registered[name].value if name in registered else name)
        known = list(dict.fromkeys([*self, *registered]))
        raise ValueError(
            f"{self._noun} is {name!r}; it must be one of {', '.join(known)}{did_you_mean(name, known, repr)}"
        )

    def _imported(self, name: str, place: str) -> Entry:
        """The object at `place`, such as package.module:OBJECT."""
        module, _, attribute = place.partition(":")
        wanted = f"{self._noun} is {name!r}; it must be package.module:OBJECT"
        try:
            imported = importlib.import_module(module)
        except (ImportError, TypeError, ValueError) as error:
            raise ValueError(f"{wanted}, and {module!r} cannot be imported ({error})") from None
        if not hasattr(imported, attribute):
            raise ValueError(f"{wanted}, and {module!r} has no {attribute!r}")
        found = getattr(imported, attribute)
        if not isinstance(found, self._of):
            raise ValueError(f"{wanted} of the class {self._of.__qualname__}, and this is {found!r}")
        return found

    def _registered(self) -> dict[str, importlib.metadata.EntryPoint]:
        if self._group is None:
            return {}
        return {point.name: point for point in importlib.metadata.entry_points(group=self._group)}
