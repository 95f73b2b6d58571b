"""Things by name; what is unknown is refused with the nearest known name."""

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry")


class Catalogue(Mapping[str, Entry], Generic[Entry]):
    """What there is of one kind, by name.

    With an entry-point `group`, `find` knows more than the names listed: `package.module:OBJECT`, whatever such an
    object is called there, and what installed packages announce in that group. `of` is the class that all of them have.
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
            ValueError: there is none (the message lists the known names and the nearest), it cannot be imported, or it
                is of another class.
        """
        if isinstance(name, str) and name in self._entries:
            return self._entries[name]
        announced = self._announced()
        if isinstance(name, str) and (name in announced or (self._group is not None and ":" in name)):
            return self._imported(name, announced[name].value if name in announced else name)
        known = list(dict.fromkeys([*self, *announced]))
        raise ValueError(
            f"{self._noun} is {name!r}; it must be one of {', '.join(known)}{did_you_mean(name, known, repr)}"
        )

    def _imported(self, name: str, place: str) -> Entry:
        """The object at a `place` such as package.module:OBJECT."""
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

    def _announced(self) -> dict[str, importlib.metadata.EntryPoint]:
        if self._group is None:
            return {}
        return {point.name: point for point in importlib.metadata.entry_points(group=self._group)}


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`; None where none is alike by `cutoff`, of 1 for the same name."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: object, known: Iterable[str], written: Callable[[str], str] = str) -> str:
    """The end of a sentence that refuses `name`: "; did you mean …?", or nothing."""
    found = nearest(name, known)
    return f"; did you mean {written(found)}?" if found is not None else ""
