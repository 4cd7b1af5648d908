"""What may be asked of a load, and what a mistake is told."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from configs.base import UserError
from configs.decision import Decision
from configs.load import Load
from configs.loading import load_experiment

ASKED = {"kind": "poisson", "rates": [1], "prompt_tokens": 100, "output_tokens": 50}


def load(**changes: Any) -> Load:
    found: Load = TypeAdapter(Load).validate_python({**ASKED, **changes})
    return found


def test_lengths_are_those_that_were_asked_for() -> None:
    assert load().lengths == {}
    varied = load(prompt_tokens_stdev=20, prompt_tokens_max=180, output_tokens_stdev=5)
    assert varied.lengths == {"prompt_tokens_stdev": 20, "prompt_tokens_max": 180, "output_tokens_stdev": 5}
    assert varied.most_tokens == 180 + 75


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt_tokens_max": 120}, "prompt_tokens_min and prompt_tokens_max need lengths that vary"),
        ({"output_tokens_stdev": 5, "output_tokens_min": 60}, "output_tokens 50 is less than output_tokens_min 60"),
        ({"prompt_tokens_stdev": 0}, "greater than or equal to 1"),
        ({"requests": -1}, "greater than or equal to 0"),
    ],
)
def test_mistake_about_lengths_is_told(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        load(**changes)


def test_longest_request_must_fit_into_the_model(experiment_file: Any) -> None:
    changes = {"prompt_tokens": 300, "prompt_tokens_stdev": 40, "output_tokens": 8}
    with pytest.raises(UserError) as caught:
        load_experiment(experiment_file(load={**ASKED, **changes}, decision=LIMITED, serving={"max_model_len": 400}))
    assert "(the longest request has 508) exceed serving.max_model_len 400" in str(caught.value)


LIMITED = {"objective": "capacity", "constraints": {"max_ttft_p95_ms": 200}}


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [({}, 5 + 60 + 360), ({"requests": 24}, 5 + 600 + 360), ({"requests": 24, "longest_s": 30}, 5 + 60 + 360)],
)
def test_longest_point_has_room_for_its_warm_up_its_requests_and_its_drain(
    changes: dict[str, Any], seconds: float
) -> None:
    assert load(**changes).longest_point_s == seconds


def test_engine_is_warmed_up_without_waiting_for_requests() -> None:
    brief = load(requests=100).warming
    assert (brief.requests, brief.duration_s, brief.warmup_s) == (0, 3, 0)


def test_former_names_of_the_gap_between_tokens_are_still_read() -> None:
    decision = Decision.model_validate({"objective": "itl", "constraints": {"max_itl_p95_ms": 30}})
    assert (decision.objective, decision.constraints.latency_limits_ms) == ("tpot", {"tpot": 30})
    with pytest.raises(ValidationError, match="max_itl_p95_ms is the former name of max_tpot_p95_ms"):
        Decision.model_validate({"constraints": {"max_itl_p95_ms": 30, "max_tpot_p95_ms": 30}})
