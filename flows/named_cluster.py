"""Whether RAY_ADDRESS names a cluster that answers and asks for a token, checked before Ray tries to join it: Ray waits
for minutes, and joins whatever answers."""

import os
import socket
import struct
from typing import Any

from configs.base import UserError

_TIMEOUT_S = 5.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 0)[1:] + b"\x04\x00" + struct.pack(">I", 0)
"""With which a client of HTTP/2, and so of gRPC, begins: RFC 9113, 3.4, and an empty SETTINGS frame."""
_SETTINGS = 4


def check(address: str) -> None:
    """Raise UserError unless something of Ray's answers at an address, and not without a token: whoever reaches such a
    cluster runs what he likes on it. RAY_AUTH_MODE=disabled says that this is known."""
    if "://" in address and not address.startswith("ray://"):
        raise UserError(
            f"RAY_ADDRESS: {address:.100} is for job submission; a driver needs the head's HOST:PORT, or `auto`"
        )
    host, port = _host_and_port(_latest() if address == "auto" else address.removeprefix("ray://"))
    encrypted = os.environ.get("RAY_USE_TLS", "0") != "0"  # by certificates, of which a client has one, too
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as opened:
            answer = b"" if encrypted else _greeting(opened)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"RAY_ADDRESS: no cluster answers at {host}:{port} ({reason}); start one, or unset RAY_ADDRESS"
        ) from None
    if answer is None:
        raise UserError(f"RAY_ADDRESS: the server at {host}:{port} is not Ray; give the address of a head's GCS")
    if not encrypted and os.environ.get("RAY_AUTH_MODE", "").lower() != "disabled" and _answers_anybody(host, port):
        raise UserError(
            f"RAY_ADDRESS: the cluster at {host}:{port} asks for no token, so anyone who reaches it can run code on "
            "it; start it with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes one), or set "
            "RAY_AUTH_MODE=disabled to accept that"
        )


def _answers_anybody(host: str, port: int) -> bool:
    """Whether the cluster tells somebody without a token what runs on it."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2  # whose names are made when it is imported
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(where, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            service = gcs_service_pb2_grpc.JobInfoGcsServiceStub(channel)
            service.GetAllJobInfo(messages.GetAllJobInfoRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return True


def _latest() -> str:
    """What `auto` stands for."""
    from ray._private.services import canonicalize_bootstrap_address

    address = canonicalize_bootstrap_address("auto")
    if not address:
        raise UserError("RAY_ADDRESS: auto, but no cluster runs on this machine; start one, or unset RAY_ADDRESS")
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
