"""The objective `energy` is refused before any device is taken where nobody tells it."""

from pathlib import Path
from typing import Any

import pytest
from tests_support import H100, benchmark

from actors import environments
from actors.placement import machine
from configs.base import UserError
from configs.loading import load_experiment
from flows import cluster
from flows.cli import BAD_INPUT, main
from flows.planning import energy, plan
from flows.store.records import Store

pytestmark = pytest.mark.fast
TOLD = [{"name": H100.name, "uuid": "GPU-0", "energy_j": 5000.0}]


@pytest.fixture(name="planned")
def _planned(experiment_file: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(environments, "interpreter", lambda role, accelerator=None: Path("/python"))
    monkeypatch.setattr(machine, "gpu_energy", lambda interpreter, visible="": TOLD)

    def made(**sections: Any) -> plan.Plan:
        path = experiment_file(accelerator="cuda", **{"decision": {"objective": "energy"}, **sections})
        return plan.make(load_experiment(path), H100)

    return made


def refusal(made: plan.Plan) -> str:
    with pytest.raises(UserError) as found:
        energy.check(made)
    return str(found.value)


@pytest.mark.usefixtures("hardware", "built")
def test_energy_on_a_cpu_is_refused_in_one_line(experiment_file: Any, capfd: Any) -> None:
    assert main(["plan", str(experiment_file(decision={"objective": "energy"}))]) == BAD_INPUT
    err = capfd.readouterr().err
    assert err.startswith("error: decision.objective: 'energy' on a CPU") and err.count("\n") == 1


def test_gpu_that_tells_is_taken(planned: Any) -> None:
    energy.check(planned())


@pytest.mark.parametrize("told", [[], [{**TOLD[0], "energy_j": None}]])
def test_gpu_that_does_not_tell_is_refused(planned: Any, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_energy", lambda interpreter, visible="": told)
    assert f"NVML tells no energy of {H100.name}" in refusal(planned())
    energy.check(planned(decision={"objective": "throughput"}))


def test_gpu_that_engines_share_is_refused(planned: Any) -> None:
    shared = planned(serving={"gpu_share": 0.5, "gpu_memory_utilization": 0.4})
    assert "gpu_share 0.5 of 'base'" in refusal(shared)


@pytest.mark.parametrize("told", [True, False])
def test_records_without_energy_are_refused(planned: Any, told: bool) -> None:
    made = planned()
    point = {"asked": 1, "unit": "streams", **({"power_w": 300.0} if told else {})}
    with Store.of(made.experiment.storage).writing(made.base.benchmarks[0]) as draft:
        draft.result = benchmark([point])
    if told:
        energy.check(made)
    else:
        assert "set another load.seed" in refusal(made)


def test_machine_without_nvml_tells_nothing(tmp_path: Path) -> None:
    assert machine.gpu_energy(str(tmp_path / "python")) == []
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho Traceback >&2; exit 1\n")
    failing.chmod(0o755)
    assert machine.gpu_energy(str(failing)) == []
    telling = tmp_path / "telling"
    telling.write_text('#!/bin/sh\necho \'[{"name": "\'$2 $3\'", "uuid": "u", "energy_j": 1.5}]\'\n')
    telling.chmod(0o755)
    assert machine.gpu_energy(str(telling), "0,1") == [
        {"name": "actors.engines.nvml 0,1", "uuid": "u", "energy_j": 1.5}
    ]


def test_nodes_are_asked_by_their_interpreter(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        machine, "gpu_energy", lambda interpreter, visible: asked.append((interpreter, visible)) or TOLD
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert cluster.gpu_energy(H100) == {"": TOLD}
    assert asked == [("/python", "3")]
