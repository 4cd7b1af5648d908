"""decision.json and its published schema."""

import json

from configs.base import REPOSITORY
from flows.analysis import judgement
from flows.analysis.judgement import Judgement

PUBLISHED = REPOSITORY / "flows/decision.schema.json"


def test_published_schema_is_that_of_the_types() -> None:
    assert PUBLISHED.read_text() == judgement.schema(), (
        "write it again: python -m flows.analysis.judgement > flows/decision.schema.json"
    )


def test_same_judgement_is_the_same_bytes() -> None:
    first = Judgement("nothing was measured", None, "Nothing.", (), (), {"b": "2", "a": "1"})
    again = Judgement("nothing was measured", None, "Nothing.", (), (), {"a": "1", "b": "2"})
    assert first.to_json() == again.to_json()
    assert json.loads(first.to_json())["reasons"] == {"a": "1", "b": "2"}


def test_workloads_stand_in_the_decision_only_where_there_are_some() -> None:
    one = Judgement("keep the baseline", "base", "Keep the baseline.", (), (), {})
    assert set(json.loads(one.to_json())) == {
        *("answer", "recommended", "sentence", "judged", "pareto", "reasons", "stopped", "baseline")
    }
    several = Judgement("keep the baseline", "base", "Keep it.", (), (), {}, workloads={"chat": one})
    assert json.loads(several.to_json())["workloads"] == {"chat": json.loads(one.to_json())}
