"""Blocks on fake engines: the baseline in turn with every variant, start by start, as often as it takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from configs.hardware import Hardware
from flows import cluster
from flows.cli import DONE, main

pytestmark = pytest.mark.usefixtures("fake_engines")
LOAD = {"kind": "concurrent", "streams": [1, 2], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1}


def decision(path: Path) -> Any:
    return json.loads((path.parent / "store/experiments/tiny/decision.json").read_text())


def records(path: Path, kind: str) -> dict[Path, Any]:
    return {p: json.loads(p.read_text()) for p in (path.parent / "store/records" / kind).glob("*/record.json")}


def events(path: Path, variant: str) -> str:
    return (path.parent / f"store/experiments/tiny/logs/events/{variant}.jsonl").read_text()


def test_one_engine_at_a_time_is_measured_start_by_start(
    experiment_file: Any, hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "this_machine", lambda _experiment: hardware.model_copy(update={"cores": 1}))
    path = experiment_file(load={**LOAD, "starts": 2})
    assert main(["run", str(path)]) == DONE
    made = records(path, "benchmark")
    for variant in ("base", "fp8-dynamic"):
        rows = [row for row in made.values() if row["variant"] == variant]
        rows.sort(key=lambda row: row["identity"]["settings"]["repeat"])
        assert [row["result"]["first"] for row in rows] == ["variant", "variant", "base", "base"]
        starts = [row["result"]["start"] for row in rows]
        assert starts[0] == starts[1] < starts[2] == starts[3]
        assert all(len(row["result"]["base"]["points"]) == 2 for row in rows)
        assert events(path, variant).count("starting its server") == 4, "the engine that answers is loaded, too"
    decided = decision(path)
    assert (
        decided["answer"] == "deploy"
        and "(control: a second start of the baseline, 1.00x the first [" in decided["sentence"]
    )
    lead = next(variant for variant in decided["judged"] if variant["name"] == "fp8-dynamic")["against_base"]
    assert (lead["starts"], lead["repeats"]) == (2, 4)
    assert main(["run", str(path)]) == DONE
    assert records(path, "benchmark") == made, "nothing is done again"


def test_repeats_that_end_by_themselves_end_where_the_answer_is_shown(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(load={**LOAD, "repeats": "auto", "max_repeats": 8})
    assert main(["run", str(path)]) == DONE
    made, looks = records(path, "benchmark"), records(path, "look")
    assert (len(made), len(looks)) == (8, 2), "four repeats of each, and one look"
    assert all(look["result"]["enough"] for look in looks.values())
    decided = decision(path)
    assert (decided["answer"], decided["recommended"]) == ("deploy", "fp8-dynamic")
    assert main(["run", str(path)]) == DONE
    assert (records(path, "benchmark"), records(path, "look")) == (made, looks)
    capfd.readouterr()
    assert main(["plan", str(path)]) == DONE
    assert "nothing to do" in capfd.readouterr().out


def test_variant_that_is_added_later_gets_a_base_of_its_own_hour(experiment_file: Any) -> None:
    path = experiment_file(load=LOAD)
    assert main(["run", str(path)]) == DONE
    before = records(path, "benchmark")
    later = [{"kind": "fp8-dynamic"}, {"kind": "fp8-dynamic", "name": "later", "ignore": ["a"]}]
    path = experiment_file(load=LOAD, schemes=later)
    assert main(["run", str(path)]) == DONE
    new = [record for file, record in records(path, "benchmark").items() if file not in before]
    assert {record["variant"] for record in new} == {"later"}
    assert all(record["result"]["base"]["points"] for record in new)
    assert "the baseline beside it: starting its server" in events(path, "later")
