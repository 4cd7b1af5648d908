"""The reference and the editors' schema are those of the types, and say of every field what it means."""

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from configs import reference
from configs.base import REPOSITORY

EXPERIMENTS = sorted((REPOSITORY / "configs/experiments").glob("*.yaml"))


@pytest.mark.parametrize(
    ("file", "made", "command"),
    [
        ("REFERENCE.md", reference.markdown, "python -m configs.reference > configs/REFERENCE.md"),
        (
            "experiment.schema.json",
            reference.schema,
            "python -m configs.reference --schema > configs/experiment.schema.json",
        ),
    ],
)
def test_file_is_that_of_the_types(file: str, made: Any, command: str) -> None:
    assert (REPOSITORY / "configs" / file).read_text() == made(), f"{command} > configs/{file}"


def test_every_field_has_a_meaning() -> None:
    rows = [line.split(" | ") for line in reference.markdown().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row[0] for row in rows if not row[-1].strip("| ")] == []


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_shipped_experiment_keeps_to_the_schema(file: Any) -> None:
    Draft202012Validator(json.loads(reference.schema())).validate(yaml.safe_load(file.read_text()))


def test_readme_shows_the_demo_s_experiment_as_it_is() -> None:
    shown = (REPOSITORY / "README.md").read_text()
    assert (REPOSITORY / "configs/experiments/smollm2-cpu.yaml").read_text().strip() in shown
