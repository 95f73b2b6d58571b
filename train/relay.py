"""A relay on this machine to the coordinator of a run, which tells at once when the coordinator is gone.

jax's client ends a process with a stack trace as soon as its connection to the coordinator breaks. Through a relay that
keeps the client's end open, it does not learn of that, and what is to be said can be said.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence

_SECONDS_BETWEEN_TRIES = 0.2
_CHUNK = 65536
Address = tuple[str, int]


def address_of(text: str) -> Address:
    """Host and port of `host:port`, an IPv6 host in brackets.

    Raises:
        ValueError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def wait_for(address: Address, seconds: float) -> bool:
    """Whether anybody listens at an address within that many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(address, timeout=max(_SECONDS_BETWEEN_TRIES, end - time.monotonic())):
                return True
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(_SECONDS_BETWEEN_TRIES)


def start(remote: Address, gone: Sequence[Callable[[], None]]) -> str:
    """Relay connections to `remote` for as long as the process lives, and return the address to use in its place.

    What `gone` holds is called, in a thread of its own, when the remote end closes a connection on which it answered.
    """
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            try:
                server = socket.create_connection(remote)
            except OSError:
                client.close()  # who tries again finds it perhaps
                continue
            threading.Thread(target=_forward, args=(client, server, ()), daemon=True).start()
            threading.Thread(target=_forward, args=(server, client, gone), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"127.0.0.1:{listening.getsockname()[1]}"


def _forward(source: socket.socket, sink: socket.socket, ended: Sequence[Callable[[], None]]) -> None:
    """Pass on what comes from `source` until it ends; `sink` stays open."""
    answered = False
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
            answered = True
    for each in ended if answered else ():
        each()
