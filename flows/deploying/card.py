"""The model card of a deployment or a publication: how to serve it, what it keeps of the baseline, how it was made.

It lies in the experiment's folder, not beside the weights, whose files are under checksum.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader

from actors.programs import vllm_server
from configs.model import HubModel
from flows.deploying.candidate import Candidate
from flows.deploying.target import Deployed
from flows.planning.licences import Licence
from flows.planning.licences import of as licence_of
from flows.reporting.accuracy_tables import accuracy
from flows.reporting.table import Table


def write(candidate: Candidate, deployed: Deployed) -> Path:
    """Write the card of a deployed variant; return its path."""
    experiment, name = candidate.run.plan.experiment, f"card-{candidate.variant}.md"
    usage = f"It answers at `{deployed.url}/v1` as the model `{deployed.model}`."
    candidate.run.store.keep_text(experiment.name, name, _text(candidate, deployed.model, deployed.how, usage))
    return experiment.results / name


def licences(candidate: Candidate) -> dict[str, Licence]:
    """What the cards of the base model and of the variant's own checkpoint say, by the model's name."""
    base, own = candidate.run.base, candidate.outcome
    told = {}
    for outcome in (base, own):
        commit = outcome.checkpoint.result.commit if outcome.checkpoint else None
        if (model := outcome.plan.model) and (licence := licence_of(model, commit)):
            told[model.label] = licence
    return told


def published(candidate: Candidate, repository: str) -> str:
    """The card of a hub repository, headed by what a hub reads of it."""
    model = candidate.run.plan.experiment.model
    head: dict[str, Any] = {"tags": ["compressed-tensors", "vllm"]}
    if isinstance(model, HubModel):
        head |= {"base_model": model.repository, "base_model_relation": "quantized"}
    for licence in licences(candidate).values():
        head |= licence.terms
    how = shlex.join(["vllm", "serve", repository, *vllm_server.as_options(candidate.engine)])
    usage = "It was measured with these settings."
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + _text(candidate, repository, how, usage)


def _text(candidate: Candidate, title: str, how: str, usage: str) -> str:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    base, step, scheme = candidate.judgement.judged[0], candidate.outcome.plan.checkpoint, candidate.outcome.plan.scheme
    settings: dict[str, Any] = {name: json.dumps(value, sort_keys=True) for name, value in step.settings.items()}
    return environment.get_template("card.md.jinja").render(
        title=title,
        judgement=candidate.judgement,
        judged=candidate.judged,
        reason=candidate.judgement.reasons.get(candidate.variant),
        base=candidate.run.plan.experiment.model.label,
        base_bytes=base.size_bytes,
        scheme=f"{scheme.kind}, called {candidate.variant}" if scheme else "none",
        variant=candidate.outcome.plan.in_words,
        checkpoint=candidate.checkpoint.fingerprint,
        licences={label: licence.words for label, licence in licences(candidate).items()},
        how=how,
        asked=usage,
        recovery=accuracy(candidate.judged, base) if candidate.compared else Table("", "", (), ()),
        settings=settings,
        libraries=step.libraries,
    )
