"""Recipe files that hold what llm-compressor does not know, passes over, or would evaluate."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import accepted, refusal

pytestmark = pytest.mark.usefixtures("hardware", "built")

GOOD = {"s_stage": {"s_modifiers": {"QuantizationModifier": {"targets": ["Linear"], "scheme": "FP8_DYNAMIC"}}}}


def modifier(name: str, **settings: Any) -> dict[str, Any]:
    return {"s_stage": {"s_modifiers": {name: settings}}}


RECIPES: list[tuple[str, Any, str]] = [
    ("unknown", modifier("NoSuchModifier"), "the modifier 'NoSuchModifier' is not allowed; allowed: AWQModifier"),
    (
        "unlisted",
        modifier("REAPPruningModifier", report_path="/etc/x"),
        "the modifier 'REAPPruningModifier' is not allowed",
    ),
    ("flat", {"QuantizationModifier": {"targets": "Linear"}}, "'QuantizationModifier' is not a stage"),
    ("no_group", {"s_stage": {"QuantizationModifier": {}}}, "'QuantizationModifier' in s_stage is not a group"),
    ("run_type", {"s_stage": {"run_type": "oneshot"}}, "'run_type' in s_stage is not a group"),
    ("empty_stage", {"s_stage": {}}, "contains no modifier"),
    ("empty_group", {"s_stage": {"s_modifiers": {}}}, "contains no modifier"),
    ("empty", {}, "contains no recipe"),
    ("none", None, "contains no recipe"),
    ("list", [GOOD], "contains no recipe"),
    ("settings_list", {"s_stage": {"s_modifiers": {"GPTQModifier": []}}}, "GPTQModifier contains []"),
    ("misspelt", modifier("GPTQModifier", tragets=["Linear"]), "GPTQModifier.tragets: unknown key; did you mean"),
    ("calc", modifier("MagnitudePruningModifier", mask_structure="calc(1)"), "contains an expression, 'calc(1)'"),
    (
        "schedule",
        modifier("MagnitudePruningModifier", update_scheduler="calc(__import__('os').system('x'))"),
        "update_scheduler: unknown key",
    ),
    ("calc_within", modifier("GPTQModifier", config_groups={"a": {"b": ["calc(x)"]}}), "contains an expression"),
    ("template", modifier("GPTQModifier", scheme="{{ x }}"), "contains an expression"),
    (
        "infinite",
        "s_stage: {s_modifiers: {GPTQModifier: {block_size: .inf}}}",
        "GPTQModifier holds inf, which no record",
    ),
    (
        "day",
        "s_stage: {s_modifiers: {GPTQModifier: {scheme: 2026-01-01}}}",
        "holds 2026-01-01, which no record can hold",
    ),
    ("control_key", 's_stage: {s_modifiers: {GPTQModifier: {"\\x1b": 1}}}', "GPTQModifier.\\x1b: unknown key"),
    ("stage_number", "1: {}", "1 is not a stage"),
    ("deep", "a: " + "[" * 500, "nested deeper than 100 levels"),
    ("date", "a: 2026-13-45", "is not a readable date"),
    ("bomb", "a: &a [x,x]\n" + "b: [" + "*a," * 9000 + "*a]", "its aliases expand to more than"),
    ("twice", "a_stage: {}\na_stage: {}\n", "'a_stage' appears twice"),
    ("binary", "\x00", "not valid YAML"),
]


@pytest.mark.parametrize(("recipe", "words"), [one[1:] for one in RECIPES], ids=[one[0] for one in RECIPES])
def test_recipe_with_a_fault(experiment_file: Any, tmp_path: Path, capfd: Any, recipe: Any, words: str) -> None:
    file = tmp_path / "my recipe.yaml"
    file.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe))
    path = experiment_file(schemes=[{"kind": "recipe", "path": str(file), "calibrated": False}])
    told = refusal(capfd, path)
    assert words in told
    assert told.startswith("error: schemes.0.path: my recipe.yaml")


def test_recipe_of_listed_modifiers_is_taken(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(GOOD))
    path = experiment_file(schemes=[{"kind": "recipe", "path": str(file), "calibrated": False}])
    assert "to do" in accepted(capfd, path)
