"""Worker processes of dask.distributed, on this machine or at a scheduler's address; nothing else imports it.

The engine is the extra `live`. It hands chunks of tasks to the worker that they are for, and tells in one queue which
workers come and go and what they have computed.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import itertools
import os
import queue
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker, spawn
from typing import Any, TypeVar

from jaxdlb.checks import check_size
from jaxdlb.live.sending import Sent, sent_compute
from jaxdlb.live.speeds import AS_THEY_ARE, ByWork, Speeds

EXTRA = "distributed is not installed; pip install 'jaxdlb[live]' brings it"
CONNECT_SECONDS = 10.0  # in which a scheduler elsewhere must answer
_POLL_SECONDS = 0.1  # between two looks at who is there, at a scheduler elsewhere
_ADDRESS = re.compile(r"(\w+://)?[^/\s]+:\d+")
_PROCESS = "Dask Worker process"  # how the engine calls those that it starts
_NUMBERS = itertools.count()  # of chunks, in this process


@dataclasses.dataclass(frozen=True)
class Joined:
    """A worker is there."""

    name: str
    address: str
    at: float  # of time.perf_counter, as of all events


@dataclasses.dataclass(frozen=True)
class Left:
    """A worker is gone."""

    address: str
    at: float
    name: str = ""  # once it is noted


@dataclasses.dataclass(frozen=True)
class Computed:
    """What came of a chunk: the results of its tasks, of those before one that failed if there is a `failure`."""

    chunk: str
    results: Sequence[Any]
    seconds: float  # that the worker computed
    failure: str | None
    at: float


Event = Joined | Left | Computed
Opened = TypeVar("Opened")


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("distributed") is not None


def check_address(workers: str) -> None:
    """Raise ValueError for what cannot be the address of a scheduler."""
    if not _ADDRESS.fullmatch(workers):
        raise ValueError(f"workers is {workers!r}; it must be a number, or an address as in tcp://127.0.0.1:8786")


class Workers:
    """Processes that compute chunks of tasks; used in a `with`, at whose end those that it started are gone.

    `where` is how many processes to start on this machine, or the address of a scheduler that has some. Each works on
    one task at a time. What this machine's processes listen at is the loopback alone.

    Raises:
        ImportError: the extra is not installed.
        ValueError: fewer than 1 process, an address that is none, or quotas for processes elsewhere.
    """

    def __init__(self, where: int | str = 4, speeds: Speeds = AS_THEY_ARE) -> None:
        if not is_installed():
            raise ImportError(EXTRA)
        if not isinstance(where, str):
            check_size("workers", where, 1)
        else:
            check_address(where)
            if not isinstance(speeds, ByWork):
                raise ValueError("speeds is cgroup; it must be a list of speeds by work at a scheduler's address")
        self._where, self._speeds = where, speeds
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._addresses: dict[str, str] = {}  # by name
        self._names: dict[str, str] = {}  # by address, of all that were there
        self._indices: dict[str, int] = {}  # of workers that are there or may come again, by which they have speeds
        self._leaving: set[str] = set()  # who is being ended
        self._futures: dict[str, Any] = {}  # of chunks that are being computed

    def __enter__(self) -> "Workers":
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as opening:
            opening.callback(self._speeds.close)
            if isinstance(self._where, str):
                self._connect(opening, self._where)
            else:
                self._start(opening, self._where)
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """Who is there, as far as has been told, in the order of their speeds."""
        return sorted(self._addresses, key=self._indices.__getitem__)

    @property
    def is_local(self) -> bool:
        """Whether the processes are this one's own."""
        return not isinstance(self._where, str)

    def events(self, timeout: float) -> Iterator[Event]:
        """What has happened; waits for it, but not longer than `timeout` seconds."""
        with contextlib.suppress(queue.Empty):
            yield self._noted(self._events.get(timeout=timeout))
            while True:
                yield self._noted(self._events.get_nowait())

    def wait_for(self, count: int, timeout: float = 300.0) -> None:
        """Wait until so many are there; between jobs alone, since results are dropped.

        Raises:
            TimeoutError: they are not.
        """
        until = time.monotonic() + timeout
        while len(self._addresses) != count or self._leaving & self._addresses.keys():
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self._addresses)} workers are there after {timeout:g} s, and not {count}")
            for _ in self.events(0.1):
                pass
        for name in self._leaving:
            self._indices.pop(name, None)
        self._leaving.clear()

    def send(self, name: str, function: Sent, tasks: Sequence[Any]) -> str:
        """Have a worker compute the tasks of a chunk, in their order; its number comes back in a `Computed`."""
        chunk = f"chunk-{os.getpid()}-{next(_NUMBERS)}"
        turns = self._speeds.repeats(self._indices[name])
        future = self._client.submit(
            sent_compute(),
            function,
            tasks,
            turns,
            chunk,
            key=chunk,
            workers=[self._addresses[name]],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        self._futures[chunk] = future
        self._client.loop.add_callback(self._watch, chunk, future)
        return chunk

    def drop(self, chunk: str) -> None:
        """Nobody waits for a chunk any more; a worker that is at it stops after its present task."""
        future = self._futures.pop(chunk, None)
        if future is not None:
            future.cancel(force=True)

    def kill(self, name: str) -> None:
        """End a worker's process by SIGKILL; another takes its place after some time, under the same name.

        Raises:
            ValueError: the processes are not this one's own, or none has that name.
        """
        os.kill(self._pid(name), signal.SIGKILL)

    def add(self, count: int) -> None:
        """Start so many more; they will be told of."""
        self._own().scale(len(self._own().worker_spec) + count)

    def reduce(self, count: int) -> None:
        """End those that were added beyond so many, and wait until they are gone and all others are there."""
        added = [name for name in self._own().worker_spec if self._indices.get(str(name), count) >= count]
        self._leaving.update(map(str, added))
        self._cluster.sync(self._cluster.scale_down, added)
        self.wait_for(count)

    def _start(self, opening: contextlib.ExitStack, count: int) -> None:
        opening.enter_context(_without_main())
        opening.enter_context(_patient())
        folder = opening.enter_context(tempfile.TemporaryDirectory(prefix="jaxdlb-", ignore_cleanup_errors=True))
        self._cluster, self._client = opening.enter_context(_unheard(lambda: _local(count, folder)))
        self._indices = {str(name): name for name in range(count)}
        self._cluster.sync(self._attach)
        self.wait_for(count)

    async def _attach(self) -> None:
        """Be told of workers; in the scheduler's own loop, lest one come in between."""
        scheduler = self._cluster.scheduler
        scheduler.add_plugin(_plugin(self._events.put))
        for address, worker in scheduler.workers.items():
            self._events.put(Joined(str(worker.name), address, time.perf_counter()))

    def _connect(self, opening: contextlib.ExitStack, address: str) -> None:
        distributed = _engine()
        try:
            client = distributed.Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ValueError(f"workers is {address!r}; it must be the address of a scheduler ({error})") from None
        self._client = opening.enter_context(client)
        is_closing = threading.Event()
        polling = threading.Thread(target=self._poll, args=(is_closing,), name="workers", daemon=True)
        polling.start()
        opening.callback(polling.join)
        opening.callback(is_closing.set)

    def _poll(self, is_closing: threading.Event) -> None:
        known: set[str] = set()
        while not is_closing.wait(_POLL_SECONDS):
            try:
                found = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"]
            except OSError:  # the scheduler is gone, and everybody with it
                found = {}
            now = time.perf_counter()
            for address in known - found.keys():
                self._events.put(Left(address, now))
            for address in sorted(found.keys() - known):
                self._events.put(Joined(str(found[address]["name"]), address, now))
            known = set(found)

    async def _watch(self, chunk: str, future: Any) -> None:
        """Tell what came of a chunk; of one that was dropped, or whose worker is gone, nothing does."""
        try:
            results, seconds, failure = await future
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            return
        except Exception as error:  # in the engine, or in sending what is sent
            cause = error.__cause__ or error
            results, seconds, failure = [], 0.0, " ".join(f"{type(cause).__name__}: {cause}".split())
        self._events.put(Computed(chunk, results, seconds, failure, time.perf_counter()))

    def _noted(self, event: Event) -> Event:
        if isinstance(event, Joined):
            self._addresses[event.name], self._names[event.address] = event.address, event.name
            taken = self._indices.values()
            free = next(index for index in itertools.count() if index not in taken)
            index = self._indices.setdefault(event.name, free)
            if self.is_local:
                with contextlib.suppress(ValueError, OSError):  # one that is gone again will be told of
                    self._speeds.enter(index, self._pid(event.name))
        elif isinstance(event, Left):
            event = dataclasses.replace(event, name=self._names.pop(event.address))
            del self._addresses[event.name]
        else:
            self._futures.pop(event.chunk, None)
        return event

    def _pid(self, name: str) -> int:
        pid = next((each.pid for key, each in self._own().workers.items() if str(key) == name), None)
        if pid is None:
            raise ValueError(f"worker is {name!r}; it must be one of {', '.join(self.names)}")
        return int(pid)

    def _own(self) -> Any:
        if not self.is_local:
            raise ValueError(f"workers is {self._where!r}; it must be a number, for processes to be ended or started")
        return self._cluster


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Worker processes do not import the program that starts them, since all that they run is sent to them.

    So they are up sooner and smaller, and a script that starts them need not guard what it does against being imported.
    """
    usual = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        data = usual(name)
        if name.startswith(_PROCESS):
            for key in ("init_main_from_name", "init_main_from_path"):
                data.pop(key, None)
        return data

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = usual


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """However slow this machine is, its workers are gone if their processes are, and those that come again are awaited.

    The engine would give up whoever is silent for some minutes, and whoever is not back after 15 s.
    """
    import dask

    _engine()  # with which its own settings come, in whose place these are for a while
    settings = {
        "distributed.scheduler.worker-ttl": None,
        "distributed.deploy.lost-worker-timeout": "1 day",
        "distributed.comm.timeouts.connect": "10 minutes",
    }
    with dask.config.set(settings):
        yield


@contextlib.contextmanager
def _local(count: int, folder: str) -> Iterator[tuple[Any, Any]]:
    """A cluster of so many processes on this machine, and what talks to it."""
    distributed = _engine()
    with (
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=folder,
            memory_limit=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield cluster, client


@contextlib.contextmanager
def _unheard(make: Callable[[], contextlib.AbstractContextManager[Opened]]) -> Iterator[Opened]:
    """Enter what is made in a thread that hears no SIGINT, as then do none of the threads and processes begun there.

    So Ctrl-C, of which a terminal tells all processes, is this program's to answer. While something is half made it is
    not interrupted, but left as soon as it is whole.
    """

    def entered() -> tuple[contextlib.ExitStack, Opened]:
        resource_tracker.ensure_running()  # which, where it has to begin, has its thread hear signals again
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        stack = contextlib.ExitStack()
        return stack, stack.enter_context(make())

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(entered)
        try:
            stack, opened = future.result()
        except BaseException:
            if future.exception() is None:  # once it is whole
                future.result()[0].close()
            raise
    with stack:
        yield opened


def _engine() -> Any:
    import distributed

    return distributed


def _plugin(put: Callable[[Event], None]) -> Any:
    """Has a scheduler of this process tell of its workers."""

    class Membership(_engine().SchedulerPlugin):  # type: ignore[misc]
        name = "jaxdlb-membership"

        def add_worker(self, scheduler: Any, worker: str) -> None:
            put(Joined(str(scheduler.workers[worker].name), worker, time.perf_counter()))

        def remove_worker(self, scheduler: Any, worker: str, **rest: Any) -> None:
            put(Left(worker, time.perf_counter()))

    return Membership()
