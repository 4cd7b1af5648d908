"""Racing: an error rate that holds although one looks again and again, and stops that records explain."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from tests_support import evaluations_of, record, write_records

from configs.decision import Decision
from configs.hardware import Hardware
from configs.loading import load_experiment
from configs.racing import Racing
from flows.analysis import compare
from flows.analysis.answers import TaskAnswers
from flows.analysis.early_stopping import Look, at_every_look, beaten, beyond_margin
from flows.cli import DONE, main
from flows.planning import plan as planning
from flows.runtime.context import Run
from flows.runtime.outcome import Outcome
from flows.runtime.progress import Progress
from flows.store.records import Store

MARGIN = 0.05
POINT = {"asked": 1, "unit": "streams", "requests": 100, "errors": 0, "seconds": 10.0, "concurrency_mean": 1.0}
LOOKS = (100, 300, 600)


def answers(values: np.ndarray, count: int) -> dict[str, TaskAnswers]:
    return {"task": TaskAnswers("acc", True, dict(enumerate(values[:count].tolist())), {})}  # type: ignore[arg-type]


def stops_at(base: np.ndarray, variant: np.ndarray, decision: Decision) -> int | None:
    """The first look at which the loss is beyond the margin."""
    for count in LOOKS:
        if beyond_margin(Look(answers(variant, count), answers(base, count), ()), decision):
            return count
    return None


def pairs(random: np.random.Generator, loss: float) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers of a base at 0.6 and of a variant that loses so much of it."""
    both = random.choice(
        [(1, 1), (0, 0), (1, 0), (0, 1)], p=[0.55 - loss / 2, 0.35 - loss / 2, 0.05 + loss, 0.05], size=LOOKS[-1]
    )
    return both[:, 0].astype(float), both[:, 1].astype(float)


def share_stopped(loss: float, error_rate: float) -> float:
    random = np.random.default_rng(11)
    decision = Decision.model_validate({"constraints": {"max_accuracy_drop": MARGIN}})
    wide = at_every_look(decision, error_rate, looks=len(LOOKS))
    return float(np.mean([stops_at(*pairs(random, loss), wide) is not None for _ in range(200)]))


def test_looking_again_and_again_keeps_the_error_rate() -> None:
    assert share_stopped(MARGIN, error_rate=0.1) <= 0.1, "at the margin itself, where an error is likeliest"


def test_clear_losers_are_stopped() -> None:
    assert share_stopped(0.15, error_rate=0.01) >= 0.95


def test_skewed_scores_within_the_margin_are_not_stopped() -> None:
    """80 % lose .05 and 2 % gain all: a t interval stopped 57 % of those that lose the margin, for a promised 1 %."""
    random, stopped = np.random.default_rng(9), 0
    wide = at_every_look(Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}}), 0.01, looks=2)
    for _ in range(200):
        change = random.choice([-0.05, 0.0, 1.0], 200, p=[0.8, 0.18, 0.02])
        base = np.where(change > 0, 0.0, 1.0)
        looks = (Look(answers(base + change, count), answers(base, count), ()) for count in (20, 80))
        stopped += any(beyond_margin(look, wide) for look in looks)
    assert stopped / 200 <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 200)


def test_right_and_wrong_are_not_stopped_by_a_few_losses() -> None:
    """Where nothing is gained, the upper bound of a score interval errs twice as often as said at so rare an error."""
    random, stopped = np.random.default_rng(9), 0
    wide = at_every_look(Decision.model_validate({"constraints": {"max_accuracy_drop": 0.02}}), 0.01, looks=2)
    for _ in range(300):
        lost = random.random(541) < 0.02
        looks = (Look(answers(1.0 - lost, count), answers(np.ones(541), count), ()) for count in (54, 216))
        stopped += any(beyond_margin(look, wide) for look in looks)
    assert stopped / 300 <= 0.01


@pytest.mark.parametrize(("bits", "stopped"), [(2.4, None), (2.8, "bits_per_byte of task is 3.48x the baseline's")])
def test_proxy_in_bits_is_compared_as_a_perplexity(
    experiment_file: Any, hardware: Hardware, tmp_path: Path, bits: float, stopped: str | None
) -> None:
    """A ratio of bits would let three times as many pass: 8 times the baseline's perplexity of 2, at 1 bit."""
    proxy = {"name": "task", "metric": "bits_per_byte"}
    experiment = load_experiment(experiment_file(racing={"proxy": proxy}))
    outcomes = []
    for variant, each in zip(planning.make(experiment, hardware).variants, (1.0, bits), strict=True):
        values = [[-each * np.log(2) * 100, 100.0]] * 4
        told = record(tmp_path / variant.name, "bits_per_byte", values, False, "bits_per_byte")
        outcomes.append(Outcome(variant, proxy=told))
    base, ours = outcomes
    found = beaten(ours, base, experiment)
    assert (found is None) == (stopped is None)
    assert found is None or (found.rule == "broken" and found.reason.startswith(str(stopped)))


def test_looks_rise_below_one() -> None:
    with pytest.raises(ValueError, match=r"must increase"):
        Racing(looks=(0.5, 0.2))
    assert Racing(looks=(0.2,)).slices == ((0.0, 0.2), (0.2, 1.0))


SPEEDS = {"base": (40, 41, 39), "steady": (50, 51, 49), "jumpy": (44, 95, 46), "slow": (38, 60, 37)}
"""Output tokens per second in each repeat; whose lead over the baseline is shown is steady's alone."""


@pytest.mark.parametrize(
    ("through", "stopped"),
    [
        ("jumpy", {"slow": "and has the better throughput (61.67 output tokens/s); this one has 45"}),
        (
            "steady",
            {
                "jumpy": "and beats the baseline: throughput (50 output tokens/s); this one (61.67) is not shown to "
                "beat it",
                "slow": "and has the better throughput (50 output tokens/s); this one has 45",
            },
        ),
    ],
)
def test_lead_that_is_not_shown_stops_nobody_whose_lead_is(
    experiment_file: Any, hardware: Hardware, tmp_path: Path, through: str, stopped: dict[str, str]
) -> None:
    """As the decision takes a shown lead before a larger one that is not."""
    schemes = [{"kind": "fp8-dynamic", "name": name, "ignore": [name]} for name in SPEEDS if name != "base"]
    experiment = load_experiment(experiment_file(schemes=schemes, racing={"looks": [0.1]}), ["load.repeats=3"])
    store, made = Store.of(experiment.storage), planning.make(experiment, hardware)
    right = [n % 2 == 0 for n in range(200)]
    for variant in made.variants:
        sweeps, beside = (
            [[{**POINT, "output_tokens_per_second": speed}] for speed in SPEEDS[name]]
            for name in (variant.name, "base")
        )
        write_records(store, variant, 10**9, [{"task": right}] * len(evaluations_of(variant)), sweeps, beside)
        if variant.name not in ("base", through):
            shutil.rmtree(Path(store.root) / "records/evaluate" / variant.evaluations[-1].fingerprint)
    run = Run.of(made, store, Progress(), tmp_path)
    reasons = {stop.name: stop.reason for stop in compare.stopped(run.evidence)}
    assert reasons == {name: f"{through} already passes {reason}" for name, reason in stopped.items()}
    assert compare.ranking(run.evidence, list(run.outcomes.values())) == ["steady", "jumpy", "slow", "base"]


@pytest.mark.usefixtures("fake_engines")
def test_race_stops_who_cannot_win_and_decides_as_if_all_were_measured(experiment_file: Any, capfd: Any) -> None:
    names = ("good", "bad", "broken", "slow")
    sections: Mapping[str, Any] = {
        "schemes": [{"kind": "fp8-dynamic", "name": name, "ignore": [name]} for name in names],
        "racing": {"looks": [0.1, 0.4]},
    }
    path = experiment_file(**sections)
    assert main(["run", str(path)]) == DONE
    store = path.parent / "store"
    decision = json.loads((store / "experiments/tiny/decision.json").read_text())
    assert (decision["answer"], decision["recommended"]) == ("deploy", "good")
    stopped = {stop["name"]: stop for stop in decision["stopped"]}
    assert {name: stop["rule"] for name, stop in stopped.items()} == {
        "bad": "not acceptable",
        "broken": "broken",
        "slow": "not best",
    }
    assert (stopped["bad"]["documents"], stopped["slow"]["documents"]) == (80, 20)
    made = records(store)
    assert all(fingerprint in made for stop in stopped.values() for fingerprint in stop["evidence"])
    evaluated = [record for record in made.values() if record["kind"] == "evaluate"]
    assert [record["variant"] for record in evaluated].count("good") == 4, "proxy and 3 slices"
    loads = [record["finished_at"] for record in made.values() if record["kind"] == "benchmark"]
    after = [r for r in evaluated if r["variant"] == "base" and r["finished_at"] > max(loads)]
    assert len(after) == 3, "the baseline's other two slices and its control keep nobody from being benchmarked"
    in_mlflow = tracked(store)
    assert {name for name, (figures, _) in in_mlflow.items() if "everyday_science.acc" in figures} == {"base", "good"}
    assert in_mlflow["slow"][1] == decision["reasons"]["slow"]
    right = [right for record in evaluated if record["variant"] == "good" for right in answered(store, record)]
    assert in_mlflow["good"][0]["everyday_science.acc"] == pytest.approx(sum(right) / len(right))
    assert "Trial" not in capfd.readouterr().out, "what Tune would say is said in our words"
    assert main(["run", str(path)]) == DONE
    assert "serv" not in capfd.readouterr().out.split("variant")[0], "nobody is served again"
    assert set(records(store)) == set(made)
    for again in after:
        shutil.rmtree(store / "records/evaluate" / again["fingerprint"])
    assert main(["run", str(path)]) == DONE
    assert set(records(store)) == set(made), "cut short after the first rungs, it goes on as a race"


def tracked(store: Path) -> dict[str, tuple[dict[str, float], str | None]]:
    """Metrics and description of every variant's run in MLflow."""
    client = mlflow.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = [run.data for run in client.search_runs([experiment.experiment_id], "tags.`msf.kind` = 'variant'")]
    return {run.tags["msf.variant"]: (run.metrics, run.tags.get("mlflow.note.content")) for run in runs}


def answered(store: Path, record: dict[str, Any]) -> list[float]:
    """Whether each document of the task was answered right."""
    file = store / "records/evaluate" / record["fingerprint"] / "everyday_science.jsonl"
    return [json.loads(line)["acc"] for line in file.read_text().splitlines()] if file.exists() else []


def records(store: Path) -> dict[str, Any]:
    return {
        r["fingerprint"]: r for r in map(json.loads, (p.read_text() for p in store.glob("records/*/*/record.json")))
    }
