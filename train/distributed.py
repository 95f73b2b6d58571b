"""Several processes that train one run together, on one machine or many; and the devices that a run is spread over."""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxdlb.checks import check_size

from . import errors, processors, relay
from .watch import Watch

Prepared = TypeVar("Prepared")
_EXPLICIT = ("coordinator", "num_processes", "process_id")
# Where schedulers say how many processes there are, and which of them this one is.
_OF_SCHEDULERS = {
    "SLURM": {"num_processes": "SLURM_NTASKS", "process_id": "SLURM_PROCID", "a step": "SLURM_STEP_NODELIST"},
    "Open MPI": {"num_processes": "OMPI_COMM_WORLD_SIZE", "process_id": "OMPI_COMM_WORLD_RANK"},
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NEVER = 10**6  # seconds: the time-outs of jax, which end a process with a stack trace, must not come before ours
_FOLDER = "jaxdlb/said/"


@dataclasses.dataclass(frozen=True)
class Group:
    """The processes of a run, as one of them sees them."""

    index: int = 0
    count: int = 1
    store: Any = None
    watch: Watch | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process logs, prints and writes: one does for all."""
        return self.index == 0

    def agreed(self, received: int | None) -> int | None:
        """The signal on which all processes stop, if any of them has received one; all must ask at the same visit."""
        if self.count == 1:
            return received
        number = int(np.max(multihost_utils.process_allgather(np.int32(received or 0))))
        return number or None

    def together(self, prepare: Callable[[], Prepared], overrides: Sequence[str], about: str = "plan") -> Prepared:
        """What `prepare` gives, once all processes have; what any of them finds wrong stops all, and the first says it.

        Raises:
            Refusal: something is wrong, as the sentence says.
            SystemExit: the same, in processes but the first.
        """
        if self.count == 1:
            return prepare()
        sentence = ""
        try:
            with errors.refusals(overrides):
                prepared = prepare()
        except errors.Refusal as refusal:
            sentence = str(refusal)
        for number, said in enumerate(self._said(about, sentence)):
            if said and not self.is_first:
                raise SystemExit(errors.STATUS)
            if said:
                raise errors.Refusal(said if number == 0 else f"process {number}: {said}")
        return prepared

    @contextlib.contextmanager
    def training(self, farewell: Callable[[], str]) -> Iterator[None]:
        """An error in here may be that another process is lost, which is then what is said, and `farewell`'s words."""
        if self.watch is None:
            yield
            return
        self.watch.farewell = farewell
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError):  # gloo's come as either
            self.watch.verdict()
            raise

    def _said(self, about: str, own: str) -> list[str]:
        """What each process says of something that they are asked once, in order."""
        self.store.key_value_set(f"{_FOLDER}{about}/{self.index}", own or " ")
        keys = [f"{_FOLDER}{about}/{number}" for number in range(self.count)]
        return [self.store.blocking_key_value_get(key, _NEVER * 1000).strip() for key in keys]


ALONE = Group()


def check(settings: Any) -> None:
    """Raise ValueError for keys of `distributed` that contradict each other, or the scheduler."""
    given = [name for name in _EXPLICIT if getattr(settings, name) is not None]
    if settings.auto and given:
        raise ValueError(
            f"distributed.auto is true; it must be false where distributed.{given[0]} is given, "
            "since with it the scheduler says all of them"
        )
    if given and len(given) < len(_EXPLICIT):
        missing = next(name for name in _EXPLICIT if name not in given)
        raise ValueError(f"distributed.{missing} is null; it must be given, since distributed.{given[0]} is")
    for name in ("connect_timeout", "timeout"):
        value = getattr(settings, name)
        if not 1 <= value <= _NEVER / 10:
            raise ValueError(f"distributed.{name} is {value}; it must be between 1 and {_NEVER // 10} seconds")
    if settings.devices is not None:
        check_size("distributed.devices", settings.devices, 1)
    if given:
        _check_explicit(settings)


def refuse(settings: Any, where: str) -> None:
    """Raise ValueError if several processes are asked for, which must not be `where`."""
    if settings.auto or any(getattr(settings, name) is not None for name in _EXPLICIT):
        name = "auto" if settings.auto else next(name for name in _EXPLICIT if getattr(settings, name) is not None)
        raise ValueError(f"distributed.{name} is {getattr(settings, name)}; it must not be given {where}")


def _check_explicit(settings: Any) -> None:
    check_size("distributed.num_processes", settings.num_processes, 1)
    if not 0 <= settings.process_id < settings.num_processes:
        raise ValueError(
            f"distributed.process_id is {settings.process_id}; it must be between 0 and "
            f"{settings.num_processes - 1}, since distributed.num_processes is {settings.num_processes}"
        )
    try:
        relay.address_of(settings.coordinator)
    except ValueError:
        raise ValueError(
            f"distributed.coordinator is {settings.coordinator!r}; it must be host:port of process 0"
        ) from None
    for scheduler, variables in _OF_SCHEDULERS.items():
        if not all(variable in os.environ for variable in variables.values()):
            continue
        for name in ("num_processes", "process_id"):
            told = os.environ[variables[name]]
            if str(getattr(settings, name)) != told:
                raise ValueError(
                    f"distributed.{name} is {getattr(settings, name)}; it must be {told} in this step of {scheduler}, "
                    "or distributed.auto=true leave it to that"
                )


def run(settings: Any, work: Callable[[Group], int]) -> int:
    """Do the work alone or, where the settings of `distributed` say so, as one of several processes; its exit status.

    Raises:
        SystemExit: a signal asked to stop.
    """
    try:
        check(settings)
        group = _joined(settings) if settings.auto or settings.coordinator is not None else ALONE
    except ValueError as error:
        print(error, file=sys.stderr)
        return errors.STATUS
    if group.watch is None:
        return work(group)
    try:
        status = work(group)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    group.watch.end(status)
    sys.stdout.flush()
    if status == 0:
        jax.distributed.shutdown()
        return 0
    sys.stderr.flush()
    os._exit(status)  # jax would wait for processes that have gone already


def devices(settings: Any, group: Group, num_policies: int) -> list[jax.Device]:
    """The devices to spread a run over: all, or `settings.devices` of each process.

    Of those that a CPU was made to be (`processors`), as many as so many policies are dealt out to evenly.

    Raises:
        ValueError: a process has fewer.
    """
    of_processes = [[each for each in jax.devices() if each.process_index == index] for index in range(group.count)]
    fewest = min(map(len, of_processes))
    wanted = settings.devices
    if wanted is not None and wanted > fewest:
        raise ValueError(f"distributed.devices is {wanted}; it must be at most the {fewest} that a process has")
    if group.count > 1 and jax.devices()[0].platform == "cpu" and (wanted or fewest) > 1:
        raise ValueError(
            f"distributed.devices is {wanted}; it must be 1 on CPUs with several processes, whose sums would deadlock"
        )
    if wanted is None and processors.are_split():
        wanted = processors.shared(num_policies, fewest)
    return [each for of_process in of_processes for each in of_process[:wanted]]


def _joined(settings: Any) -> Group:
    """This process among the others, which have all come.

    Raises:
        ValueError: there is no scheduler that says who they are, or they do not come.
    """
    coordinator, count, index, local = _found(settings)
    address, seconds = relay.address_of(coordinator), settings.connect_timeout
    lost: list[Callable[[], None]] = []  # what to do when process 0 is gone
    if index != 0:
        if not relay.wait_for(address, seconds):
            raise ValueError(
                f"distributed.coordinator is {coordinator!r}; it must be where process 0 listens, and nobody answered "
                f"within {seconds:g} s (distributed.connect_timeout)"
            )
        coordinator = relay.start(address, lost)
    jax.config.update("jax_enable_preemption_service", False)  # its handler of SIGTERM would take ours away
    with _no_longer_than(seconds, count):
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            local,
            cluster_detection_method="deactivate",
            initialization_timeout=_NEVER,
            heartbeat_timeout_seconds=_NEVER,
            coordinator_bind_address=f"127.0.0.1:{address[1]}" if address[0] in _LOOPBACK else None,
        )
    store = _store()
    watch = Watch(store, index, count, settings.timeout)
    lost.append(lambda: watch.lost(0, "has closed its connection"))
    watch.start()
    with _quiet_stdout():
        multihost_utils.process_allgather(np.int32(0))
    return Group(index, count, store, watch)


@contextlib.contextmanager
def _no_longer_than(seconds: float, count: int) -> Iterator[None]:
    """End the process if not all have come after so many seconds: jax would end it with a stack trace."""

    def refuse() -> None:
        print(
            f"distributed.num_processes is {count}; it must be how many are started, and not all came within "
            f"{seconds:g} s (distributed.connect_timeout)",
            file=sys.__stderr__,
            flush=True,
        )
        os._exit(errors.STATUS)

    timer = threading.Timer(seconds, refuse)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _found(settings: Any) -> tuple[str, int, int, list[int] | None]:
    """Coordinator, number of processes, number of this one, and its devices where the scheduler deals them out."""
    if not settings.auto:
        return settings.coordinator, settings.num_processes, settings.process_id, None
    from jax._src.clusters import ClusterEnv  # jax detects clusters only within initialize otherwise

    try:
        detect = ClusterEnv.auto_detect_unset_distributed_params
        coordinator, count, index, local = detect(None, None, None, None, None, int(settings.connect_timeout))
    except Exception as error:
        raise ValueError(
            f"distributed.auto is true; it must be false where the scheduler cannot be asked: {error}"
        ) from None
    if coordinator is None or count is None or index is None:
        raise ValueError(
            "distributed.auto is true; it must be false where none of SLURM, Open MPI and Kubernetes has started this "
            "process, or distributed.coordinator, .num_processes and .process_id be given instead"
        )
    return coordinator, count, index, None if local is None else list(local)


def _store() -> Any:
    from jax._src import distributed  # there is no public way to the coordinator's store; orbax goes the same one

    return distributed.global_state.client


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """gloo tells the standard output of every connection that it makes, which belongs to the table."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        for each in (kept, nowhere):
            os.close(each)
