"""Things by name; what is unknown is refused with the nearest known name."""

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Catalogue(Mapping[str, Entry], Generic[Entry]):
    """What there is of one kind, by name.

    `find` knows more than the names listed: `package.module:OBJECT`, whatever such an object is called there, and what
    installed packages announce under the entry-point `group`.
    """

    def __init__(self, noun: str, entries: Mapping[str, Entry], *, group: str | None = None) -> None:
        self._noun = noun
        self._entries = dict(entries)
        self._group = group

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._noun}: {', '.join(self)})"

    def find(self, name: str) -> Entry:
        """The entry called `name`.

        Raises:
            ValueError: there is none; the message lists the known names and the nearest.
        """
        if name in self._entries:
            return self._entries[name]
        if self._group is not None and isinstance(name, str) and ":" in name:
            return self._imported(name)
        announced = self._announced()
        if name in announced:
            return announced[name].load()
        known = [*self, *announced]
        raise ValueError(
            f"{self._noun} is {name!r}; it must be one of {', '.join(known)}{did_you_mean(name, known, repr)}"
        )

    def _imported(self, name: str) -> Entry:
        module, _, attribute = name.partition(":")
        wanted = f"{self._noun} is {name!r}; it must be package.module:OBJECT"
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{wanted}, and {module!r} cannot be imported ({error})") from None
        except AttributeError:
            raise ValueError(f"{wanted}, and {module!r} has no {attribute!r}") from None

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
