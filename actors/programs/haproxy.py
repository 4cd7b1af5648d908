"""HAProxy with one address in front of two slots of engines: its configuration, and the commands to it while it runs.

HAProxy is not Python, and its configuration never changes: which slot a path leads to stands in a map, and which
engines a slot has in servers that get their addresses by command. Both change at once, without a connection being
closed. Standard library only.
"""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

SLOTS = ("blue", "green")
"""A deployment has two revisions of engines at most: the live one, and one that is to be or was before it."""
LIVE = "live"
MOST_ENGINES = 32
_CONFIGURATION = """\
global
    stats socket {socket} mode 600 level admin
    nbthread {threads}
defaults
    mode http
    option http-no-delay
    option redispatch
    retries 2
    timeout connect 5s
    timeout client {patience}s
    timeout server {patience}s
    timeout check 30s
frontend public
    bind {bind}
    http-request deny deny_status 404 unless {{ path_beg {route}/ }}
    http-request set-var(txn.slot) path,field(4,/),map({map})
    http-request replace-path ^{pattern}/[0-9a-f]+(/.*)$ \\1 if {{ var(txn.slot) -m found }}
    http-request replace-path ^{pattern}(/.*)$ \\1 if !{{ var(txn.slot) -m found }}
    http-request deny deny_status 404 unless {{ path_beg /v1/ }} || {{ path /health }}
    http-request set-var(txn.slot) str({live}),map({map}) unless {{ var(txn.slot) -m found }}
    http-request deny deny_status 503 unless {{ var(txn.slot) -m found }}
    use_backend %[var(txn.slot)]
"""
_SLOT = """\
backend {slot}
    balance leastconn
    option httpchk GET /health
    server-template engine 1-{engines} 127.0.0.1:1 check inter 2s fall 3 rise 1 disabled
"""
_THREADS = 4
_PATIENCE_S = 3600


def configuration(folder: Path, route: str, host: str, port: int) -> str:
    """The text that HAProxy is started with.

    Args:
        folder: of its socket and its map.
        route: the path under which everything answers: ROUTE/v1 for the live slot, ROUTE/NAME/v1 for the one that the
            map has under a name. Whatever is neither below /v1 nor /health is not there, whoever asks.
    """
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    public = _CONFIGURATION.format(
        socket=command_socket(folder),
        map=slot_map(folder),
        threads=_THREADS,
        patience=_PATIENCE_S,
        bind=bind,
        route=route,
        pattern=re.escape(route),
        live=LIVE,
    )
    return public + "".join(_SLOT.format(slot=slot, engines=MOST_ENGINES) for slot in SLOTS)


def command_socket(folder: Path) -> Path:
    return folder / "commands"


def slot_map(folder: Path) -> Path:
    """The file that the map begins as."""
    return folder / "slots.map"


class Commands:
    """The commands to a running HAProxy, over the socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self._socket, self._map = str(command_socket(folder)), slot_map(folder)

    def lead(self, name: str, slot: str | None) -> None:
        """From now on a name leads to a slot; to none if None."""
        known = any(line.split()[1:2] == [name] for line in self._tell(f"show map {self._map}").splitlines())
        if slot is None:
            self._tell(f"del map {self._map} {name}" if known else "")
        else:
            self._tell(f"{'set' if known else 'add'} map {self._map} {name} {slot}")

    def place(self, slot: str, engines: Sequence[tuple[str, int]]) -> None:
        """From now on a slot has these engines, by address and port.

        Raises:
            ValueError: they are more than a slot has room for.
        """
        if len(engines) > MOST_ENGINES:
            raise ValueError(f"{len(engines)} engines exceed the {MOST_ENGINES} of a slot")
        for number in range(MOST_ENGINES):
            server = f"{slot}/engine{number + 1}"
            if number < len(engines):
                address, port = engines[number]
                self._tell(f"set server {server} addr {address} port {port}; set server {server} state ready")
            else:
                self._tell(f"set server {server} state maint")

    def _tell(self, commands: str) -> str:
        """What HAProxy answers to commands on one line."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._socket)
            connection.sendall(f"{commands}\n".encode())
            answered = b"".join(iter(lambda: connection.recv(65536), b""))
        return answered.decode()
