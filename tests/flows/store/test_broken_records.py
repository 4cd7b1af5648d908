"""Records that cannot be read: each is named and passed over, and the rest of the store stays usable."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import accepted, refusal
from tests_support import scored

from actors.artifacts import Evaluation
from configs.base import UserError
from configs.loading import load_experiment
from configs.storage import Storage
from flows.deploying import deploy
from flows.store import backend, records
from flows.store.records import DEPLOYMENT, Store
from flows.store.steps import Step

pytestmark = pytest.mark.usefixtures("hardware", "built")

WHOLE = {
    "schema": 1,
    "kind": "evaluate",
    "variant": "v",
    "fingerprint": "0" * 16,
    "identity": {},
    "result": {"tasks": {}},
    "seconds": 1.0,
    "finished_at": 1.0,
    "where": {},
}
MADE = Evaluation({"made": scored("acc")})
Spoil = Callable[[Path], object]


def without(key: str) -> Spoil:
    return lambda file: file.write_text(json.dumps({k: v for k, v in WHOLE.items() if k != key}))


def of(**changes: Any) -> Spoil:
    return lambda file: file.write_text(json.dumps(WHOLE | changes))


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOILT: list[tuple[str, Spoil]] = [
    ("empty", lambda file: file.write_text("")),
    ("cut", lambda file: file.write_text(json.dumps(WHOLE)[:40])),
    ("binary", lambda file: file.write_bytes(bytes(range(256)))),
    ("list", lambda file: file.write_text("[]")),
    ("number", lambda file: file.write_text("3")),
    ("deep", lambda file: file.write_text("[" * 100_000)),
    ("folder", folder),
    ("no_kind", without("kind")),
    ("no_result", without("result")),
    ("no_seconds", without("seconds")),
    ("no_identity", without("identity")),
    ("result_list", of(result=[])),
    ("result_of_another_kind", of(result={"weight_bytes": 1})),
    ("result_without_a_field", of(result={"tasks": {"t": {"metrics": {}}}})),
    ("number_as_text", of(result={"tasks": {"t": {"metrics": {"acc": "1"}, "documents": 1}}})),
    ("kind_of_another_folder", of(kind="look", result={"enough": True, "why": ""})),
    ("seconds_text", of(seconds="1")),
    ("nan", of(result={"points": [{"output_tokens_per_second": float("nan")}]})),
    ("infinite", of(seconds=float("inf"))),
    ("beyond_all_figures", lambda file: file.write_text(json.dumps(WHOLE).replace("1.0", "1e999"))),
    ("later", of(schema=2)),
    ("schema_text", of(schema="2")),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    records._REPORTED.clear()
    return Store.of(Storage(root=tmp_path / "store"))


def step(seed: int) -> Step:
    return Step("evaluate", "v", {"seed": seed}, {}, {})


def written(store: Store, of_step: Step) -> Path:
    with store.writing(of_step) as draft:
        draft.result = MADE
    return Path(store.root) / f"records/evaluate/{of_step.fingerprint}/record.json"


@pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT], ids=[name for name, _ in SPOILT])
def test_record_that_cannot_be_read_costs_no_other(store: Store, capfd: Any, spoil: Spoil) -> None:
    spoil(written(store, step(1)))
    written(store, step(2))
    assert [record.fingerprint for record in store.all()] == [step(2).fingerprint]
    assert [record.fingerprint for record in store.all()] == [step(2).fingerprint]
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(f"passed over: {store.root}/records/evaluate/{step(1).fingerprint}/record.json: ")


@pytest.mark.parametrize(
    ("result", "field"),
    [
        ({}, "tasks"),
        ({"tasks": {"t": {"metrics": {}}}}, "tasks.t.documents"),
        ({"tasks": {"t": {"metrics": {"acc": "1"}, "documents": 1}}}, "tasks.t.metrics.acc"),
        ({"tasks": {}, "reference": {"answers": []}}, "reference.mean_logprob_difference"),
    ],
)
def test_field_that_does_not_fit_is_named(store: Store, capfd: Any, result: Any, field: str) -> None:
    of(result=result)(written(store, step(1)))
    assert store.find(step(1)) is None
    assert capfd.readouterr().err.endswith(f": its result has no `{field}` that can be read\n")


@pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT[:-2]], ids=[name for name, _ in SPOILT[:-2]])
def test_step_whose_record_cannot_be_read_is_done_again(store: Store, spoil: Spoil) -> None:
    file = written(store, step(1))
    spoil(file)
    assert store.missing([step(1)]) == [step(1)]
    again = written(store, step(1))
    record = store.find(step(1))
    assert again == file
    assert record is not None
    assert record.result == MADE
    assert list(file.parent.parent.glob(".*.partial")), "what was there is kept until it is cleaned away"


def test_figure_that_is_no_number_leaves_no_record(store: Store) -> None:
    with (
        pytest.raises(RuntimeError, match="the result of evaluate cannot be recorded"),
        store.writing(step(1)) as draft,
    ):
        draft.result = Evaluation({"made": replace(MADE.tasks["made"], metrics={"acc": float("nan")})})
    assert store.missing([step(1)]) == [step(1)]


def test_record_of_a_later_version_is_not_overwritten(store: Store) -> None:
    file = written(store, step(1))
    content = json.dumps(json.loads(file.read_text()) | {"schema": 2})
    file.write_text(content)
    with pytest.raises(UserError, match="is of a later version of this project"):
        store.find(step(1))
    assert file.read_text() == content


def test_record_without_a_number_and_with_a_further_key_is_read(store: Store) -> None:
    file = written(store, step(1))
    content = json.loads(file.read_text())
    assert content.pop("schema") == backend.SCHEMA
    file.write_text(json.dumps(content | {"colour": "blue", "result": content["result"] | {"shape": "round"}}))
    record = store.find(step(1))
    assert record is not None
    assert record.result == MADE


@pytest.mark.parametrize("spoil", [spoil for _, spoil in SPOILT], ids=[name for name, _ in SPOILT])
def test_plan_of_any_experiment_goes_on_beside_it(
    experiment_file: Any, tmp_path: Path, capfd: Any, spoil: Spoil
) -> None:
    records._REPORTED.clear()
    file = tmp_path / "store/records/evaluate" / ("0" * 16) / "record.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(WHOLE))
    spoil(file)
    assert "to do" in accepted(capfd, experiment_file())


LEFT = ["failed.json", "searched.json", "mlflow.json", "deployment.json", "steps.json", "decision.json", "report.md"]
SPOILT_FILES = [b"", b"[1]", b"3", b'{"a": 1}', b"[" * 100_000, b"\x80", b'{"fp8-dynamic": 1, "asked": 1}']


@pytest.mark.parametrize("name", [*LEFT, "logs/events/base.jsonl"])
@pytest.mark.parametrize("content", SPOILT_FILES, ids=range(len(SPOILT_FILES)))
def test_plan_and_report_go_on_beside_what_an_experiment_left_broken(
    experiment_file: Any, tmp_path: Path, capfd: Any, name: str, content: bytes
) -> None:
    file = tmp_path / "store/experiments/tiny" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert "to do" in accepted(capfd, experiment_file())
    from flows.cli import main

    for command in ("status", "report"):
        assert main([command, str(experiment_file())]) in (0, 2)
        assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("previous", [None, [1], "serve", {"kind": "serve"}, {"kind": "serve", "experiment": 3}])
def test_deployment_that_cannot_be_returned_to_is_refused(experiment_file: Any, previous: Any) -> None:
    experiment = load_experiment(experiment_file())
    Store.of(experiment.storage).keep(experiment.name, DEPLOYMENT, {"kind": "serve", "previous": previous})
    with pytest.raises(UserError, match="--rollback"):
        deploy.before(experiment, deploy.standing("serve"))


@pytest.mark.parametrize(
    ("kind", "identity", "result"),
    [
        ("evaluate", {"settings": {}, "inputs": {}}, {"task": {}}),
        ("evaluate", {"settings": {}, "inputs": {}}, {"tasks": {}}),
        ("evaluate", {}, {"tasks": {}}),
        ("evaluate", {"settings": [], "inputs": 3}, {"tasks": {}}),
        ("benchmark", {"settings": {}, "inputs": {}}, {"points": []}),
        ("benchmark", {"settings": {"load": {}}, "inputs": {}}, {"points": [], "deployment": {"warming_s": 1}}),
        ("quantize", {"settings": {"recipe": None}, "inputs": {}}, {"weight_bytes": 1}),
        ("prepare", {"settings": {"model": 1}, "inputs": {}}, {"weight_bytes": 1}),
        ("dance", {"settings": {}, "inputs": {}}, {}),
    ],
)
def test_record_of_an_older_shape_is_in_no_estimates_way(
    experiment_file: Any, tmp_path: Path, capfd: Any, kind: str, identity: Any, result: Any
) -> None:
    file = tmp_path / "store/records" / kind / ("0" * 16) / "record.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(WHOLE | {"kind": kind, "identity": identity, "result": result}))
    assert "to do" in accepted(capfd, experiment_file())


def test_plan_says_which_record_of_its_own_is_of_a_later_version(
    experiment_file: Any, tmp_path: Path, capfd: Any
) -> None:
    path = experiment_file()
    shown = accepted(capfd, path, "load.seed=7")
    assert "to do" in shown
    from flows.cli import main

    assert main(["plan", str(path), "--steps"]) == 0
    words = capfd.readouterr().out.split()
    fingerprint = next(word for word in words if len(word) == 16 and set(word) <= set("0123456789abcdef"))
    file = tmp_path / "store/records/prepare" / fingerprint / "record.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(WHOLE | {"schema": 2}))
    assert "is of a later version of this project (schema 2, this one reads 1); update this project" in refusal(
        capfd, path
    )
