"""The model card of a deployment or a publication: how to serve it, what it keeps of the base, how it was made.

It lies in the experiment's folder, not beside the weights, whose files are under checksum.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader

from actors.programs import vllm_server
from configs.experiment import BASE
from configs.model import HubModel
from flows.deploying.candidate import Chosen
from flows.deploying.target import Deployed
from flows.reporting import tables


def write(chosen: Chosen, deployed: Deployed) -> Path:
    """Write the card of a deployed variant; return its place."""
    experiment, name = chosen.run.plan.experiment, f"card-{chosen.variant}.md"
    asked = f"Ask it at `{deployed.url}/v1` for the model `{deployed.model}`."
    chosen.run.store.keep_text(experiment.name, name, _text(chosen, deployed.model, deployed.how, asked))
    return experiment.results / name


def published(chosen: Chosen, repository: str) -> str:
    """The card of a hub repository, headed by what a hub reads of it."""
    model = chosen.run.plan.experiment.model
    head: dict[str, Any] = {"tags": ["compressed-tensors", "vllm"]}
    if isinstance(model, HubModel):
        head |= {"base_model": model.repository, "base_model_relation": "quantized"}
    how = shlex.join(["vllm", "serve", repository, *vllm_server.as_options(chosen.engine)])
    asked = "These are the settings that it was measured with."
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + _text(chosen, repository, how, asked)


def _text(chosen: Chosen, title: str, how: str, asked: str) -> str:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    base, step, scheme = chosen.judgement.judged[0], chosen.outcome.plan.checkpoint, chosen.outcome.plan.scheme
    settings: dict[str, Any] = {name: json.dumps(value, sort_keys=True) for name, value in step.settings.items()}
    return environment.get_template("card.md.jinja").render(
        title=title,
        judgement=chosen.judgement,
        judged=chosen.judged,
        reason=chosen.judgement.reasons.get(chosen.variant),
        base=chosen.run.plan.experiment.model.label,
        base_bytes=base.size_bytes,
        scheme=f"{scheme.kind}, called {chosen.variant}" if scheme else "none",
        checkpoint=chosen.checkpoint.fingerprint,
        how=how,
        asked=asked,
        recovery=tables.accuracy(chosen.judged, base) if chosen.variant != BASE else tables.Table("", "", (), ()),
        settings=settings,
        libraries=step.libraries,
    )
