"""The Ray that a run starts for itself, on this machine: it is gone with the run, whatever ends that.

Its processes are in sessions of their own, so that a signal to the run's process group (`timeout`, a closed terminal,
`docker stop` with a shell) reaches the driver alone, which then gives everything back in order. They, and all below
them, bear the run's mark: what a dead driver or a dead raylet leaves behind is recognized by it and ended.

Nobody else can talk to it: it listens on loopback, asks for a token that this process made up, and its files, and the
temporary files of all below it, lie in a folder that only its user can read and that is removed with it. Of the user's
environment, what runs below it has only what it may need.
"""

import contextlib
import os
import secrets
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ray

from actors.placement import processes, reaper
from actors.programs import vllm_server
from configs import offline
from flows import interruption

_LOOPBACK = "127.0.0.1"
_NO_WAY_OUT = {"http_proxy": "http://127.0.0.1:9"}
"""Offline, for Ray's own processes. Its dashboard asks cloud providers' metadata addresses where it runs, usage
reports or not (2.60, `UsageStatsHead.run`); a proxy on loopback at which nobody answers ends that there."""
_NEEDED = {"raylet": "raylet", "gcs_server": "GCS server"}
"""Processes of Ray's without which nothing goes on, by their programs' names; each leads a session."""
_ALSO = {"http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}
_ALSO_OF = ("PYTHON", "RAY_", "TUNE_", "HF_", "HUGGING_FACE_", "PIP_", "GUIDELLM_", "LMEVAL_", "GRPC_", "REQUESTS_CA_")
"""Beside what an engine may have: what fetches models, data sets and wheels, and the libraries' own settings."""
_OF_STORES = ("AWS_", "GOOGLE_", "AZURE_", "FSSPEC_", "GCSFS_", "S3_")
"""What reaches an object store, where one is used."""
_LONGEST = 20
"""Characters of a temporary folder's name: of the 107 that the kernel gives a socket, Ray and this use 84."""
_ENDING_S = 2.0
"""In which workers see that their raylet has gone."""


class NotStarted(Exception):
    """Ray could not be started; the message is one line."""


@contextlib.contextmanager
def up(settings: dict[str, Any], logs: Path | None, *, object_store: bool = False) -> Iterator[None]:
    """Ray on this machine, bound to loopback, for the length of the block; after it no process of it is left.

    Args:
        settings: further arguments of `ray.init`.
        logs: the folder that its logs and those of what it ran are in afterwards, instead of an earlier run's.
        object_store: whether what it runs reaches one, with the user's credentials.

    Raises:
        NotStarted: it is not up in Ray's own time, 30 s.
    """
    run, folder = uuid.uuid4().hex[:12], _private_folder()
    needed: dict[int, str] = {}
    sessions: list[int] = []

    def end(patience_s: float = 0) -> None:
        processes.end_run(run, sessions, patience_s)
        reaper.put_away(folder, logs)

    def started(leader: int, name: str) -> None:
        needed[leader] = name
        sessions.append(leader)
        tell(leader)

    with reaper.watching_over(run, folder, logs) as tell, interruption.bounded(lambda: _lost(needed), end):
        try:
            interruption.interrupt_on_signals()
            _start(run, folder, settings, started, _OF_STORES if object_store else ())
            interruption.interrupt_on_signals()  # Ray has replaced them by its own
            yield
        finally:
            if not _lost(needed):  # or else shutting down may take a minute, which is not waited for
                needed.clear()
            ray.shutdown()
            end(_ENDING_S)


def _start(
    run: str, folder: Path, settings: dict[str, Any], started: Callable[[int, str], None], also: tuple[str, ...]
) -> None:
    """A cluster of one machine, whose processes bear the run's mark.

    Args:
        also: beginnings of the names of environment variables that they have, too.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    lent = {processes.RUN_MARK: run, "TMPDIR": str(temporary), **(_NO_WAY_OUT if offline.is_set() else {})}
    before = os.environ.copy()
    kept = vllm_server.inherited().keys() | {n for n in before if n in _ALSO or n.startswith(_ALSO_OF + also)}
    withheld = before.keys() - kept
    for name in withheld:
        del os.environ[name]
    os.environ |= lent | {"RAY_AUTH_TOKEN": _token()}
    os.environ.pop("RAY_AUTH_MODE", None)  # Ray turns its token on, and tells itself of it, only where none is set
    try:
        with _in_sessions_of_their_own(started), _on_loopback():
            ray.init(
                address="local",
                num_cpus=len(os.sched_getaffinity(0)),
                include_dashboard=False,
                _node_ip_address=_LOOPBACK,
                _temp_dir=str(folder / "ray"),  # which Ray opens to everybody
                **settings,
            )
    except SystemExit:
        raise KeyboardInterrupt from None  # what Ray makes of SIGTERM while it starts
    except Exception as error:  # Ray raises no class of its own here
        reason = " ".join(str(error).split())
        raise NotStarted(
            f"Ray did not start on this machine: {reason:.200}; run `python -m flows doctor` to "
            "see what blocks it, then the same command again to resume"
        ) from error
    finally:
        _restore(before, {*lent, *withheld})


def _private_folder() -> Path:
    """A new folder that only its user can read, short enough for the names of Ray's sockets below it."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="msf-", dir=usual if len(usual) <= _LONGEST else "/tmp"))


@cache
def _token() -> str:
    """Ray's, for the clusters of this process; Ray reads it once."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Inside the block Ray takes loopback for its address. Given 127.0.0.1 it takes the machine's outer address, and
    listens on all, but where it could not be part of a cluster anyway, which is what this switch of its says."""
    constants: Any = ray._private.ray_constants
    before, name = constants.ENABLE_RAY_CLUSTER, constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)


@contextlib.contextmanager
def _in_sessions_of_their_own(started: Callable[[int, str], None]) -> Iterator[None]:
    """What Ray starts inside the block; it has no setting for that. `started` gets the id and the name of each
    process that is needed."""
    services: Any = ray._private.services
    popen = services.ConsolePopen

    def start(command: list[str], **settings: Any) -> Any:
        process = popen(command, start_new_session=True, **settings)
        if name := _NEEDED.get(Path(command[0]).name):
            started(process.pid, name)
        return process

    services.ConsolePopen = start
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _restore(before: Mapping[str, str], names: Collection[str]) -> None:
    """Some environment variables as they were."""
    for name in names:
        if name in before:
            os.environ[name] = before[name]
        else:
            os.environ.pop(name, None)


def _lost(needed: Mapping[int, str]) -> str | None:
    """What to say of the first of them that is dead."""
    for process, name in list(needed.items()):
        if not processes.alive(process):
            return (
                f"Ray's {name} (process {process}) has died; its work was ended, finished work is kept: run the "
                "same command again to resume"
            )
    return None
