"""Addresses that nobody answers at, or somebody else does: told in seconds, without their passwords."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from ray.core.generated import gcs_service_pb2 as messages
from ray.core.generated import gcs_service_pb2_grpc as services
from refusals import accepted, changed, refusal

from configs.base import UserError
from flows import cluster, named_cluster
from flows.planning import hub, hub_models
from flows.planning import mlflow_address as address

BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"
CANARY = "CANARYPW"


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """A port at which everybody gets the same words, whatever they say."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    opened, _ = server.accept()
                except OSError:
                    return
                with opened:
                    opened.sendall(answer)
                    opened.settimeout(2)
                    try:
                        opened.recv(1 << 16)
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def banner() -> Iterator[int]:
    with listening(BANNER) as port:
        yield port


@pytest.mark.parametrize(
    "given",
    [
        "zzz",
        "127.0.0.1",
        ":6379",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "a:²",
        "a:" + "9" * 5000,
    ],
)
def test_ray_address_that_is_none(given: str) -> None:
    with pytest.raises(UserError, match="is not HOST:PORT"):
        named_cluster.check(given)


@pytest.mark.parametrize("given", ["http://127.0.0.1:8265", "https://x", "redis://x:1"])
def test_ray_address_of_something_else(given: str) -> None:
    with pytest.raises(UserError, match="is for job submission"):
        named_cluster.check(given)


def test_ray_address_that_nobody_answers_at(free_port: int) -> None:
    with pytest.raises(UserError, match=f"no cluster answers at 127.0.0.1:{free_port}"):
        named_cluster.check(f"127.0.0.1:{free_port}")
    with pytest.raises(UserError, match="no cluster answers at"):
        named_cluster.check(f"ray://127.0.0.1:{free_port}")


def test_ray_address_at_which_somebody_else_answers(banner: int) -> None:
    with pytest.raises(UserError, match="is not Ray"):
        named_cluster.check(f"127.0.0.1:{banner}")


def test_ray_address_auto_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda address: None)
    with pytest.raises(UserError, match="no cluster runs on this machine"):
        named_cluster.check("auto")


def test_ray_address_of_a_server_of_grpc_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_cluster, "_TIMEOUT_S", 1.0)
    with listening(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00") as port:
        named_cluster.check(f"127.0.0.1:{port}")


class HeadOfACluster(services.JobInfoGcsServiceServicer):
    """What a head says of its jobs, to everybody or to nobody who has no token."""

    def __init__(self, asks_for_a_token: bool) -> None:
        self.asks_for_a_token = asks_for_a_token

    def GetAllJobInfo(self, _: Any, context: grpc.ServicerContext) -> Any:
        if self.asks_for_a_token:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return messages.GetAllJobInfoReply()


@contextmanager
def head(*, asks_for_a_token: bool) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    services.add_JobInfoGcsServiceServicer_to_server(HeadOfACluster(asks_for_a_token), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("mode", [None, "token", "TOKEN", "x"])
def test_cluster_that_asks_for_no_token_is_refused(mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with head(asks_for_a_token=False) as address, pytest.raises(UserError, match="asks for no token, so anyone"):
        named_cluster.check(address)


def test_cluster_that_asks_for_no_token_is_used_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with head(asks_for_a_token=False) as address:
        named_cluster.check(address)


def test_cluster_that_asks_for_a_token_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with head(asks_for_a_token=True) as address:
        named_cluster.check(address)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("given", ["zzz", "127.0.0.1:1"])
def test_plan_with_a_wrong_ray_address_is_one_line(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", given)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)  # as another test may have left it
    monkeypatch.delenv("MSF_ACCELERATOR", raising=False)
    assert "RAY_ADDRESS" in refusal(capfd, experiment_file())


@pytest.mark.usefixtures("built")
def test_accelerator_that_is_none(experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSF_ACCELERATOR", "tpu")
    assert 'MSF_ACCELERATOR is "tpu": it must be one of cpu, cuda' in refusal(capfd, experiment_file())


@pytest.mark.usefixtures("built", "hardware")
@pytest.mark.parametrize("given", ["[1]", "{", "3", '{"runtime_env": [1]}', '{"runtime_env": null}'])
def test_job_that_says_nothing_is_passed_over(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", given)
    assert "to do" in accepted(capfd, experiment_file())


def to_a_server(answer: bytes, what: Callable[[str], None]) -> None:
    with listening(answer) as port:
        what(f"http://127.0.0.1:{port}")


def test_mlflow_server_that_speaks_no_http(banner: int) -> None:
    with pytest.raises(address.CannotBeOpened, match="the server there does not speak HTTP"):
        address.check(f"http://127.0.0.1:{banner}")


def test_mlflow_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(address.CannotBeOpened, match="out of reach"):
        address.check(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_database_that_nobody_answers_at(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_check_driver", lambda uri: None)
    with pytest.raises(address.CannotBeOpened, match=r"no database answers at 127\.0\.0\.1") as caught:
        address.check(f"postgresql://u:{CANARY}@127.0.0.1:{free_port}/x")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("content", [b"", None])
def test_database_that_is_new_or_empty_is_taken(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "my mlflow.db"
    if content is not None:
        file.write_bytes(content)
    address.check(f"sqlite:///{file}")
    assert file.exists() == (content is not None)


@pytest.mark.usefixtures("built", "hardware")
def test_variable_for_mlflow_is_checked_like_the_field(
    experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://x")
    path = changed(experiment_file(), {"tracking": ...})
    assert "tracking.uri: begins with foo" in refusal(capfd, path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert "to do" in accepted(capfd, path)


HUB = {"model": {"kind": "hub", "repository": "a/b"}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A hub that may be asked, without a cache or a token."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    hub._at_the_hub.cache_clear()
    hub_models.told.cache_clear()
    return monkeypatch


@pytest.mark.usefixtures("built", "hardware")
def test_hub_that_speaks_no_http_is_out_of_reach(
    experiment_file: Any, capfd: Any, asked: pytest.MonkeyPatch, banner: int
) -> None:
    asked.setenv("HF_ENDPOINT", f"http://u:{CANARY}@127.0.0.1:{banner}")
    shown = accepted(capfd, changed(experiment_file(), HUB))
    assert "is out of reach" in " ".join(shown.split())
    assert CANARY not in shown


@pytest.mark.usefixtures("built", "hardware")
@pytest.mark.parametrize(
    "given", ["not a url", "huggingface.co", "ftp://x", "http://", "http://[", "http://a:99999", "http://a b"]
)
def test_hub_at_no_address(experiment_file: Any, capfd: Any, asked: pytest.MonkeyPatch, given: str) -> None:
    asked.setenv("HF_ENDPOINT", given)
    assert "HF_ENDPOINT: is not an address" in refusal(capfd, changed(experiment_file(), HUB))


@pytest.mark.usefixtures("built", "hardware")
@pytest.mark.parametrize("token", ["hf_CANARYPW\r\nX: y", "hf_CANARYPW é", "hf_CANARYPW\x01y"])
def test_token_that_no_header_holds_is_refused_and_not_shown(
    experiment_file: Any, capfd: Any, asked: pytest.MonkeyPatch, token: str
) -> None:
    asked.setenv("HF_TOKEN", token)
    told = refusal(capfd, changed(experiment_file(), HUB))
    assert "HF_TOKEN: contains a character that is not allowed in a token" in told
    assert "CANARY" not in told


@pytest.mark.usefixtures("built", "hardware")
@pytest.mark.parametrize("token", ["hf_CANARYPW\n", "hf_CANARYPW\r\n", "\n"])
def test_token_with_an_end_of_line_is_stripped_and_not_shown(
    experiment_file: Any, capfd: Any, asked: pytest.MonkeyPatch, free_port: int, token: str
) -> None:
    asked.setenv("HF_TOKEN", token)
    asked.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port}")
    assert "CANARY" not in accepted(capfd, changed(experiment_file(), HUB))


@pytest.mark.usefixtures("built", "hardware")
def test_user_without_a_home_works_with_a_store_of_its_own(
    experiment_file: Any, capfd: Any, asked: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "MSF_STORE", "MSF_CACHE", "HF_HOME"):
        asked.delenv(name, raising=False)
    asked.setattr("os.path.expanduser", lambda path: path)
    asked.setattr("pathlib.Path.home", _nobody)
    path = experiment_file()
    assert "to do" in accepted(capfd, path)
    told = refusal(capfd, changed(path, {"storage": ...}))
    assert "storage.root: this user has no home folder for records; give a folder, here or in MSF_STORE" in told
    asked.setenv("MSF_STORE", str(path.parent / "of mine"))
    assert "to do" in accepted(capfd, path)


def _nobody() -> Path:
    raise RuntimeError("Could not determine home directory.")
