"""Models and checkpoints that an experiment names by a version in MLflow's Model Registry, found before anything is
planned.

A version, or what an alias means now, becomes a folder: MLflow's own where it keeps artifacts on this machine, that
which it refers to (`flows.tracking.models`), or a download. `run` and `plan` ask MLflow; every other command goes by
what they found, so that an alias that moves later changes nothing of what was measured.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from actors.files.digests import Damaged
from configs.base import UserError
from configs.experiment import Experiment
from configs.model import MlflowModel, RegisteredModel
from flows.planning import mlflow_address
from flows.store import checkpoints
from flows.store.folder import check_writable
from flows.store.records import Store
from flows.tracking import downloads
from flows.tracking.client import opened, uri
from flows.tracking.models import CHECKPOINT_FILE, local_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_T = TypeVar("_T")
_M = TypeVar("_M")
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers to a name, a version or an alias that it does not have."""


@dataclass(frozen=True)
class _Found:
    """What a URI meant when MLflow was asked."""

    version: str
    """As models:/NAME/VERSION."""
    folder: str


def resolved(experiment: Experiment, *, anew: bool) -> Experiment:
    """The same experiment with a folder for every model and checkpoint that it names by a URI of MLflow's.

    Args:
        anew: whether MLflow is asked also for what was found before.

    Raises:
        UserError: MLflow does not answer, has no such version, or it is no checkpoint.
    """
    if not any(
        isinstance(each, MlflowModel) for each in (experiment.model, *(v.checkpoint for v in experiment.variants))
    ):
        return experiment
    store, kept = Store.of(experiment.storage), {} if anew else _kept(experiment)
    found = dict[str, _Found]()

    def folder(asked: _M, field: str) -> _M | RegisteredModel:
        if not isinstance(asked, MlflowModel):
            return asked
        uri = asked.uri
        one = found[uri] = found.get(uri) or kept.get(uri) or _find(experiment, uri, f"{field}.uri")
        return RegisteredModel(kind="path", path=Path(one.folder), uri=one.version)

    base = folder(experiment.model, "model")
    variants = tuple(
        variant.model_copy(
            update={"checkpoint": folder(variant.checkpoint, f"{experiment.yaml_path(variant.name)}.checkpoint")}
        )
        for variant in experiment.variants
    )
    if found != kept:
        store.keep(experiment.name, downloads.FOUND, {asked: asdict(one) for asked, one in found.items()})
    return experiment.with_sources(base, variants)


def _kept(experiment: Experiment) -> dict[str, _Found]:
    """What was found before, where its folder is still there."""
    kept = Store.of(experiment.storage).kept_mapping(experiment.name, downloads.FOUND)
    try:
        found = {asked: _Found(**one) for asked, one in kept.items()}
    except TypeError:
        return {}
    return {asked: one for asked, one in found.items() if Path(one.folder).is_dir()}


def _find(experiment: Experiment, asked: str, field: str) -> _Found:
    check_writable(experiment.storage.local)
    client = _client(experiment, field)
    version = _asked(field, f"what {asked} is", lambda: _version(client, asked, field))
    name = f"models:/{version.name}/{version.version}"
    location = _asked(field, f"where {name} lies", lambda: _location(client, version))
    _check_is_checkpoint(name, field)
    folder = local_folder(location) or _asked(
        field, f"the files of {name}", lambda: downloads.fetched(experiment.storage, version)
    )
    try:
        folder = _referred(folder)
        checkpoints.verify(folder, compressed=False)
    except Damaged as damage:
        raise UserError(f"{field}: {name} is not a whole checkpoint: {damage}; register it again") from None
    return _Found(name, str(folder))


def _client(experiment: Experiment, field: str) -> "MlflowClient":
    """A client of an MLflow that is there."""
    address = uri(experiment)
    database = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and not database.is_file():
        raise UserError(f"{field}: there is no MLflow database {database}; set tracking.uri to the one that has it")
    try:
        mlflow_address.check(address)
    except mlflow_address.CannotBeOpened as error:
        raise UserError(f"{field}: tracking.uri: {error}") from None
    return opened(experiment)


def _asked(field: str, what: str, question: Callable[[], _T]) -> _T:
    """MLflow's answer. Whatever goes wrong is one line, without the address, which may hold a password."""
    try:
        return question()
    except UserError:
        raise
    except Exception as error:  # MLflow raises what its database, its artifact store and its server do
        code = getattr(error, "error_code", "")
        reason = f"{type(error).__name__} {code}".strip()
        raise UserError(
            f"{field}: MLflow does not tell {what} ({reason}); check tracking.uri and MLflow's credentials"
        ) from None


def _version(client: "MlflowClient", asked: str, field: str) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    name, alias, which = re.split(r"(@|/)(?=[^/@]+$)", asked.removeprefix("models:/"))
    try:
        return (client.get_model_version_by_alias if alias == "@" else client.get_model_version)(name, which)
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise
    versions = [int(version.version) for version in client.search_model_versions(f"name='{name}'")]
    if not versions:
        raise UserError(f"{field}: MLflow has no registered model {name!r}; check the name, or tracking.uri")
    known = ", ".join(map(str, sorted(versions)))
    aliases = ", ".join(sorted(client.get_registered_model(name).aliases)) or "none"
    raise UserError(
        f"{field}: the registered model {name!r} has no {'alias' if alias == '@' else 'version'} {which!r}; "
        f"versions: {known}; aliases: {aliases}"
    )


def _location(client: "MlflowClient", version: "ModelVersion") -> str:
    return str(client.get_model_version_download_uri(version.name, version.version))


def _check_is_checkpoint(name: str, field: str) -> None:
    """By the names of its files, before they are fetched."""
    import mlflow

    listed = _asked(field, f"the files of {name}", lambda: mlflow.artifacts.list_artifacts(artifact_uri=name))
    names = {file.path for file in listed}
    has_weights = any(file.endswith(".safetensors") for file in names)
    if CHECKPOINT_FILE not in names and not ("config.json" in names and has_weights):
        raise UserError(
            f"{field}: {name} is no checkpoint (config.json and safetensors weights), but has "
            f"{', '.join(sorted(names)[:5]) or 'no files'}; register the folder of one"
        )


def _referred(folder: Path) -> Path:
    """The folder that a model refers to, whose files are still those; the given one where it refers to none.

    Raises:
        Damaged: it cannot be read, or they are not.
    """
    if not (folder / CHECKPOINT_FILE).is_file() or (folder / "config.json").is_file():
        return folder
    content: Any = checkpoints.json_object(folder / CHECKPOINT_FILE)
    elsewhere, files = content.get("folder"), content.get("files")
    if not isinstance(elsewhere, str) or not isinstance(files, dict):
        raise Damaged(f"{folder / CHECKPOINT_FILE} names no folder")
    if not Path(elsewhere).is_dir():
        raise Damaged(f"it refers to {elsewhere}, which is no folder on this machine")
    checkpoints.check(Path(elsewhere), files, compressed=False)
    return Path(elsewhere)
