"""Thirteen secrets in the environment of a real run, and two that it made up: where they are found afterwards.

The run is the smoke experiment's, which the other tests use, too; its store has records, logs (Ray's and the engines'
among them), MLflow's database and artifacts, report and decision.
"""

import sqlite3
from pathlib import Path

import pytest
from canaries import FOR_FETCHING, PLANTED, Watched, holders, word
from real_support import flows

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]
SMOKE = "configs/experiments/smoke.yaml"


def test_canary_is_in_no_file_of_a_run_and_in_nothing_it_says(smoke: tuple[Path, Watched]) -> None:
    store, seen = smoke
    assert len(seen.own) == 2, "Ray's token and the engines' key"
    secrets = [*PLANTED.values(), *seen.own]
    files = [file for file in store.rglob("*") if file.is_file()]
    parts = {"records", "experiments/smoke/logs/ray", "mlflow.db", "experiments/smoke/decision.json"}
    assert all((store / part).exists() for part in parts), "what is searched is there"
    found = {secret: holders([store], [secret]) for secret in secrets}
    print(f"{len(secrets)} secrets, {len(files)} files of the store: {sum(map(len, found.values()))} hits")
    assert {secret: hits for secret, hits in found.items() if hits} == {}
    assert [secret for secret in secrets if word(secret) in seen.out] == []


def test_canary_is_in_no_file_of_rays_while_it_runs(smoke: tuple[Path, Watched]) -> None:
    assert smoke[1].engines, "its folder was searched when the first engine was there"
    assert smoke[1].of_ray == []


def test_canary_is_in_no_command_line(smoke: tuple[Path, Watched]) -> None:
    _, seen = smoke
    print(f"{len(seen.processes)} processes, {len(seen.told)} command lines")
    assert any("vllm.entrypoints.cli.main" in line for line in seen.told)
    secrets = [*PLANTED.values(), *seen.own]
    assert [line for line in seen.told if any(word(secret) in line for secret in secrets)] == []


def test_processes_of_a_run_have_only_the_secrets_that_fetching_needs(smoke: tuple[Path, Watched]) -> None:
    _, seen = smoke
    had = {name: len(lines) for name, lines in seen.inherited.items()}
    print(f"{len(seen.processes)} processes, {len(seen.engines)} engines; that had a secret: {had}")
    assert {name: lines for name, lines in seen.inherited.items() if name not in FOR_FETCHING} == {}
    assert seen.at_engines == set()


def test_engine_of_a_run_answers_nobody_without_its_key(smoke: tuple[Path, Watched]) -> None:
    answered = smoke[1].answered
    print(f"{len(answered)} engines asked without their key: {list(answered.values())}")
    assert len(answered) >= 2
    assert set(answered.values()) == {401}


def test_search_finds_what_is_there(smoke: tuple[Path, Watched], tmp_path: Path) -> None:
    _, seen = smoke
    (tmp_path / "log").write_text(f"asked with {PLANTED['VLLM_API_KEY']}")
    with sqlite3.connect(tmp_path / "mlflow.db") as opened:
        opened.execute("CREATE TABLE t AS SELECT ? AS v", [next(iter(seen.own))])
    assert len(holders([tmp_path], [*PLANTED.values(), *seen.own])) == 2


@pytest.mark.parametrize("place", ["http://user:CANARY14@127.0.0.1:9", "postgresql://user:CANARY14@127.0.0.1/x"])
def test_password_in_the_address_of_mlflow_is_refused_and_not_repeated(place: str, tmp_path: Path) -> None:
    done = flows("plan", SMOKE, "--set", f"tracking.uri={place}", store=tmp_path)
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    assert holders([tmp_path], ["CANARY14"]) == []
