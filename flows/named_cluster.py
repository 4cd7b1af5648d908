"""Whether RAY_ADDRESS names a cluster that answers, checked before Ray tries to join it: Ray waits for minutes."""

import os
import socket
import struct

from configs.base import UserError

_TIMEOUT_S = 5.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 0)[1:] + b"\x04\x00" + struct.pack(">I", 0)
"""With which a client of HTTP/2, and so of gRPC, begins: RFC 9113, 3.4, and an empty SETTINGS frame."""
_SETTINGS = 4


def check(address: str) -> None:
    """Raise UserError unless something of Ray's answers at an address."""
    if "://" in address and not address.startswith("ray://"):
        raise UserError(
            f"RAY_ADDRESS: {address:.100} is where jobs are submitted; a driver joins at HOST:PORT, or use `auto`"
        )
    host, port = _host_and_port(_latest() if address == "auto" else address.removeprefix("ray://"))
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as opened:
            answer = b"" if os.environ.get("RAY_USE_TLS", "0") != "0" else _greeting(opened)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"RAY_ADDRESS: no cluster answers at {host}:{port} ({reason}); start one, or unset RAY_ADDRESS"
        ) from None
    if answer is None:
        raise UserError(f"RAY_ADDRESS: what answers at {host}:{port} is not Ray; give the address of a head's GCS")


def _latest() -> str:
    """What `auto` stands for."""
    from ray._private.services import canonicalize_bootstrap_address

    address = canonicalize_bootstrap_address("auto")
    if not address:
        raise UserError("RAY_ADDRESS: auto, and no cluster runs on this machine; start one, or unset RAY_ADDRESS")
    return str(address)


def _host_and_port(address: str) -> tuple[str, int]:
    host, separator, port = address.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) < 65536:
        raise UserError(f"RAY_ADDRESS: {address!r:.100} is not HOST:PORT; correct it, or unset it")
    return host.strip("[]"), int(port)


def _greeting(opened: socket.socket) -> bytes | None:
    """The first frame of a server of HTTP/2; None where what answers, or does not, is something else."""
    opened.settimeout(_TIMEOUT_S)
    opened.sendall(_PREFACE)
    try:
        frame = opened.recv(9, socket.MSG_WAITALL)
    except TimeoutError:
        return None
    return frame if len(frame) == 9 and frame[3] == _SETTINGS else None
