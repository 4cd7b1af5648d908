"""Two runs of one experiment on one store: the second is refused, and the first goes on to its decision."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from configs.base import UserError
from configs.loading import load_experiment
from flows import experiment
from flows.cli import BAD_INPUT, DONE, main
from flows.runtime.alone import alone


def test_second_run_is_refused_in_a_line_and_the_first_decides(
    decided: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    store, codes = decided.parent / "store", []
    (store / "experiments/tiny/decision.json").unlink()
    shutil.rmtree(next((store / "records/benchmark").iterdir()))  # so that there is something to do
    prepare = experiment.prepare_base

    def meanwhile(*arguments: Any) -> None:
        """With the first run's actors up."""
        capfd.readouterr()
        codes.append(main(["run", str(decided)]))
        prepare(*arguments)

    monkeypatch.setattr(experiment, "prepare_base", meanwhile)
    assert main(["run", str(decided)]) == DONE
    assert codes == [BAD_INPUT]
    who = f"process {os.getpid()} on {os.uname().nodename}"
    (told,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert told.startswith(f"error: name: tiny already runs on this store ({who}); wait for it to end")
    decision = json.loads((store / "experiments/tiny/decision.json").read_text())
    assert decision["answer"] == "deploy"


@pytest.mark.fast
def test_experiment_of_another_name_or_store_is_not_in_the_way(experiment_file: Any, tmp_path: Path) -> None:
    asked = load_experiment(experiment_file())
    others = [["name=other"], [f"storage.root={tmp_path / 'other'}"]]
    with alone(asked):
        for overrides in others:
            with alone(load_experiment(experiment_file(), overrides)):
                pass
        with pytest.raises(UserError, match=r"already runs on this store \(process"), alone(asked):
            pass
    with alone(asked):
        pass
