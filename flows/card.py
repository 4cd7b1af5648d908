"""The model card of a deployment: how to serve it, what it keeps of the base, how it was made.

It lies in the experiment's folder, not beside the weights, whose files are under checksum.
"""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from configs.experiment import BASE
from flows import tables
from flows.chosen import Chosen
from flows.target import Deployed


def write(chosen: Chosen, deployed: Deployed) -> Path:
    """Write the card of a deployed variant; return its place."""
    experiment, name = chosen.run.plan.experiment, f"card-{chosen.variant}.md"
    chosen.run.store.keep_text(experiment.name, name, text(chosen, deployed))
    return experiment.storage.experiments / experiment.name / name


def text(chosen: Chosen, deployed: Deployed) -> str:
    """The card in Markdown."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    base, step, scheme = chosen.judgement.judged[0], chosen.outcome.plan.checkpoint, chosen.outcome.plan.scheme
    settings: dict[str, Any] = {name: json.dumps(value, sort_keys=True) for name, value in step.settings.items()}
    return environment.get_template("card.md.jinja").render(
        model=deployed.model,
        judgement=chosen.judgement,
        judged=chosen.judged,
        reason=chosen.judgement.reasons.get(chosen.variant),
        base=chosen.run.plan.experiment.model.label,
        base_bytes=base.size_bytes,
        scheme=f"{scheme.kind}, called {chosen.variant}" if scheme else "none",
        deployed=deployed,
        recovery=tables.accuracy(chosen.judged, base) if chosen.variant != BASE else tables.Table("", "", (), ()),
        settings=settings,
        libraries=step.libraries,
    )
