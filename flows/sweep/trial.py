"""One variant as a trial of Ray Tune's."""

import os
from pathlib import Path
from typing import Any

from ray import tune

from flows.planning.plan import Plan
from flows.runtime.context import Run, Services
from flows.runtime.progress import EventFile, events_folder
from flows.stages.variant import run_rung
from flows.store.records import Store


class VariantTrial(tune.Trainable):
    """One variant; a training step of Tune's is one rung."""

    def setup(  # type: ignore[override]  # tune.with_parameters passes the rest
        self, config: dict[str, Any], *, plan: Plan, logs: Path, services: Services, variables: dict[str, str]
    ) -> None:
        """Nothing is done yet. Everything is passed once for all trials."""
        os.environ |= variables
        self._plan, self._logs, self._services = plan, logs, services
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another variant in the same process."""
        self._name, self._found = new_config["variant"], new_config["found"]
        return True

    def step(self) -> dict[str, Any]:
        """One rung."""
        progress = EventFile(events_folder(self._logs) / f"{self._name}.jsonl")
        run = Run.of(self._plan, Store.of(self._plan.experiment.storage), progress, self._logs)
        if self._found is not None:
            run.add(self._found)
        finish = run_rung(run, self._name, self._services, first=self.iteration == 0)
        return {"failure": finish.failure, "done": finish.last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The records are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The records are in the store."""
