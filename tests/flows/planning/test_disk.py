"""What a plan writes: each checkpoint once, at its own size, where it goes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import llama_3_1_8b, write_model

from configs.experiment import Experiment
from configs.hardware import Hardware
from configs.loading import load_experiment
from configs.schemes import Fp8Dynamic
from flows.planning import disk, memory, sizes
from flows.planning import plan as planning
from flows.planning.plan import Plan
from flows.planning.sizes import Model
from flows.store import links

BASE_GB, FP8_GB, INT8_GB, INT4_GB = 16.06, 9.08, 9.08, 5.7
"""Llama-3.1-8B's checkpoints."""
MEMORY = Path("/dev/shm")
"""A file system of its own."""


@pytest.fixture
def llama() -> Model:
    shapes = tuple(llama_3_1_8b())
    return Model(2 * sum(map(memory.elements, shapes)), shapes)


@pytest.fixture
def made(
    experiment_file: Any, hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Plan]:
    """A plan of FP8, INT8 and INT4, on a machine whose hub cache is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    text = tmp_path / "text.txt"
    text.write_text("word " * 100)
    calibration = {"source": {"kind": "local", "path": str(text)}, "samples": 4, "sequence_length": 8}
    schemes = [{"kind": kind} for kind in ("fp8-dynamic", "int8-w8a8", "int4-w4a16")]
    asked = {"model": {"kind": "hub", "repository": "a/llama"}, "schemes": schemes, "calibration": calibration}
    return lambda **sections: planning.make(load_experiment(experiment_file(**asked | sections)), hardware)


def missing(plan: Plan) -> set[str]:
    return {step.fingerprint for step in plan.steps}


def gb_by_setting(plan: Plan, model: Model, *, left: set[str] | None = None) -> dict[str, float]:
    """What goes where, in GB, without what is beside the weights."""
    found = disk.disks(plan, model, missing(plan) if left is None else left)
    return {one.setting: one.bytes / 1e9 for some in found for one in some.writings}


def test_base_from_the_hub_and_three_schemes_are_written_once(made: Any, llama: Model) -> None:
    plan = made()
    (one,) = disk.disks(plan, llama, missing(plan))
    assert one.bytes / 1e9 == pytest.approx(BASE_GB + FP8_GB + INT8_GB + INT4_GB, rel=0.03)
    found = gb_by_setting(plan, llama)
    assert found["HF_HUB_CACHE"] == pytest.approx(BASE_GB, rel=0.01)
    assert found["storage.root"] == pytest.approx(FP8_GB + INT8_GB + INT4_GB + 0.6, rel=0.01)
    assert "GB into" in str(one)


def test_base_is_not_written_where_it_lies_in_a_folder_or_in_the_hubs_cache(
    made: Any, llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "model")
    monkeypatch.setattr(disk.hub, "cached_model", lambda *_: folder)
    for plan in (made(), made(model={"kind": "path", "path": str(folder)})):
        assert set(gb_by_setting(plan, llama)) == {"storage.root"}
        assert gb_by_setting(plan, llama)["storage.root"] == pytest.approx(FP8_GB + INT8_GB + INT4_GB + 0.6, rel=0.01)


def test_base_from_a_wheel_is_written_into_the_store(made: Any, llama: Model) -> None:
    plan = made(model={"kind": "wheel", "package": "fake==1"}, schemes=[{"kind": "fp8-dynamic"}])
    assert gb_by_setting(plan, llama) == {"storage.root": pytest.approx(BASE_GB + FP8_GB + 0.3, rel=0.01)}


def test_steps_that_have_a_record_write_nothing(made: Any, llama: Model) -> None:
    plan = made()
    assert disk.disks(plan, llama, set()) == []
    base, fp8, *_ = plan.variants
    left = {step.fingerprint for step in base.steps} - {base.checkpoint.fingerprint} | {fp8.checkpoint.fingerprint}
    assert gb_by_setting(plan, llama, left=left) == {"storage.root": pytest.approx(FP8_GB + 0.3, rel=0.01)}


def test_model_of_which_nothing_is_known_is_not_guessed(made: Any) -> None:
    plan = made()
    (one,) = disk.disks(plan, None, missing(plan))
    assert one.bytes / 1e9 == pytest.approx(0.6)


def test_mlflow_keeps_a_second_time_only_what_it_cannot_link(
    made: Any, llama: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "tracking.uri" not in gb_by_setting(made(), llama)
    monkeypatch.setattr(disk, "can_link", lambda *_: False)
    assert gb_by_setting(made(), llama)["tracking.uri"] == pytest.approx(FP8_GB + INT8_GB + INT4_GB, rel=0.01)
    for tracking in ({"uri": "http://mlflow.example"}, {"uri": None, "log_checkpoints": False}):
        assert "tracking.uri" not in gb_by_setting(made(tracking=tracking), llama)


@pytest.mark.skipif(
    not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK), reason="needs a second file system that can be written to"
)
def test_artifacts_on_another_disk_count_there(
    made: Any, llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("the tests' folder lies on it, too")
    monkeypatch.chdir(MEMORY)
    plan = made(tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    here, there = disk.disks(plan, llama, missing(plan))
    assert {one.setting for one in here.writings} == {"storage.root", "HF_HUB_CACHE"}
    assert [one.setting for one in there.writings] == ["tracking.uri"]
    assert not (MEMORY / "mlruns").exists()


def test_store_at_an_address_fills_no_more_than_the_cache_and_a_draft(made: Any, llama: Model, tmp_path: Path) -> None:
    storage = {"root": "s3://bucket", "cache": str(tmp_path / "cache"), "cache_gib": 10}
    plan = made(storage=storage, tracking={"uri": "http://mlflow.example"})
    found = gb_by_setting(plan, llama)
    assert found["storage.cache"] == pytest.approx(10 * 1.0737 + BASE_GB + 0.6, rel=0.01)


def test_size_without_shapes_is_near_the_size_by_shapes(llama: Model) -> None:
    scheme = Fp8Dynamic(kind="fp8-dynamic")
    by_shapes = sizes.checkpoint_bytes(scheme, llama)
    assert by_shapes / 1e9 == pytest.approx(FP8_GB, rel=0.01)
    assert sizes.checkpoint_bytes(scheme, Model(llama.bytes)) == pytest.approx(by_shapes, rel=0.1)


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        (None, "store/mlartifacts"),
        ("sqlite:///mlflow.db", "mlruns"),
        ("postgresql+psycopg2://host/mlflow", "mlruns"),
        ("https://mlflow.example", None),
    ],
)
def test_artifacts_lie_in_a_folder_unless_a_server_has_them(
    experiment_file: Any, tmp_path: Path, uri: str | None, folder: str | None
) -> None:
    experiment: Experiment = load_experiment(experiment_file(tracking={"uri": uri}))
    expected = tmp_path / folder if folder and folder.startswith("store") else folder and Path(folder)
    assert experiment.artifacts == expected


def test_file_is_linked_only_where_the_file_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert links.can_link(tmp_path, tmp_path / "none" / "yet")

    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(links.os, "link", refuse)
    assert not links.can_link(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())
