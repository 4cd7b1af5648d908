"""What is deployed, in MLflow: a verification in its run, a version in the Model Registry with its aliases."""

import contextlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from configs.experiment import Experiment
from flows.tracking.client import FINGERPRINT, connect, remembered

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CHAMPION, _PREVIOUS = "champion", "previous"


def verified(experiment: Experiment, verdict: str, figures: Mapping[str, float], file: str) -> None:
    """Leave a verification in the parent run: its verdict, its figures, and the file of that name; nothing where
    the experiment was never tracked."""
    if (parent := remembered(experiment).get("run_id")) is None:
        return
    client, _ = connect(experiment)
    client.set_tag(parent, "msf.verified", verdict)
    for name, value in figures.items():
        client.log_metric(parent, f"verification.{name}", value)
    client.log_artifact(parent, str(experiment.results / file))


def register(experiment: Experiment, fingerprint: str, tags: Mapping[str, str]) -> str | None:
    """Make a deployed variant the champion of the experiment's registered model; the one that was it before
    becomes `previous`.

    Args:
        fingerprint: of the checkpoint's record.
        tags: what its version says of it, without the prefix.

    Returns:
        name and version; None where its checkpoint was not logged (tracking.log_checkpoints).
    """
    if (model_id := remembered(experiment).get("models", {}).get(fingerprint)) is None:
        return None
    client, _ = connect(experiment)
    import mlflow

    name = experiment.name
    if (now := _versions(client, name).get(fingerprint)) is None:
        with contextlib.redirect_stderr(io.StringIO()):  # it prints what is said in one line further up
            now = mlflow.register_model(f"models:/{model_id}", name, tags={FINGERPRINT: fingerprint})
    aliases = client.get_registered_model(name).aliases
    if (before := aliases.get(_CHAMPION)) not in (None, now.version):
        client.set_registered_model_alias(name, _PREVIOUS, before)
    client.set_registered_model_alias(name, _CHAMPION, now.version)
    for key, value in tags.items():
        client.set_model_version_tag(name, now.version, f"msf.{key}", value)
    return f"{name} version {now.version} as {_CHAMPION}"


def withdraw(experiment: Experiment) -> str | None:
    """Nothing of an experiment is deployed any more: its champion is `previous` from now on.

    Returns:
        name and version; None where no champion is registered.
    """
    if not remembered(experiment).get("models"):
        return None
    client, _ = connect(experiment)
    models = {model.name: model for model in client.search_registered_models(f"name='{experiment.name}'")}
    model = models.get(experiment.name)
    if model is None or (version := model.aliases.get(_CHAMPION)) is None:
        return None
    client.set_registered_model_alias(model.name, _PREVIOUS, version)
    client.delete_registered_model_alias(model.name, _CHAMPION)
    return f"{model.name} version {version} is {_PREVIOUS}, and there is no {_CHAMPION}"


def published(experiment: Experiment, fingerprint: str, url: str, commit: str) -> None:
    """Tag the registered version of a published variant, if there is one, with where it lies."""
    if not remembered(experiment).get("models"):
        return
    client, _ = connect(experiment)
    if version := _versions(client, experiment.name).get(fingerprint):
        client.set_model_version_tag(experiment.name, version.version, "msf.published", f"{url} at {commit}")


def _versions(client: "MlflowClient", name: str) -> dict[str | None, Any]:
    """Versions of a registered model by the fingerprint of their checkpoint."""
    return {version.tags.get(FINGERPRINT): version for version in client.search_model_versions(f"name='{name}'")}
