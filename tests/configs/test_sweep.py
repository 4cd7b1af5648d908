"""Sweeps: which schemes a space holds, what they are called, and one helpful line for each mistake."""

import json
from itertools import product
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from configs.base import REPOSITORY, UserError
from configs.experiment import Experiment
from configs.loading import load_experiment
from configs.schemes import Scheme
from configs.space import Choices, Range
from configs.sweep import Sweep

DEMO = REPOSITORY / "configs/experiments/smollm2-cpu.yaml"
SCHEMES = TypeAdapter(tuple[Scheme, ...])
INT8, INT4 = "int8-w8a8", "int4-w4a16"
FINE = {"kind": INT8, "smoothquant": {"low": 0.25, "high": 0.75}}
THREE = {"kind": INT4, "group_size": [32, 64, 128]}


def sweep(*space: dict[str, Any], **settings: Any) -> Sweep:
    return Sweep.model_validate({"space": space, **settings})


def names(asked: Sweep) -> list[str]:
    return [scheme.name for scheme in asked.expanded]


def experiment(*space: Any, schemes: Any = (), overrides: tuple[str, ...] = (), **settings: Any) -> Experiment:
    """The demo with a sweep instead of its schemes, or beside those given."""
    asked = json.dumps({"space": space, **settings})
    return load_experiment(DEMO, [f"sweep={asked}", f"schemes={json.dumps(schemes)}", *overrides])


def refused(*space: Any, **settings: Any) -> str:
    """The one line that an experiment with this sweep is refused with, without the file's name."""
    with pytest.raises(UserError) as caught:
        experiment(*space, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{DEMO}: ")


def test_every_combination_of_every_template_comes_in_order() -> None:
    asked = sweep(
        {"kind": INT8, "algorithm": ["gptq", "rtn"], "smoothquant": [None, 0.5]},
        {"kind": INT4, "group_size": {"low": 32, "high": 96, "step": 32}, "symmetric": False},
        {"kind": "fp8-dynamic"},
    )
    expected = [
        *({"kind": INT8, "algorithm": a, "smoothquant": s} for a, s in product(["gptq", "rtn"], [None, 0.5])),
        *({"kind": INT4, "group_size": size, "symmetric": False} for size in (32, 64, 96)),
        {"kind": "fp8-dynamic"},
    ]
    assert [s.bare for s in asked.expanded] == [s.bare for s in SCHEMES.validate_python(expected)]
    assert asked.size == 8


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"low": 0.3, "high": 0.9, "step": 0.2}, [0.3, 0.5, 0.7, 0.9]),
        ({"low": 0.3, "high": 0.8, "step": 0.2}, [0.3, 0.5, 0.7]),
        ({"low": 0, "high": 1, "step": 0.5}, [0.0, 0.5, 1.0]),
    ],
)
def test_range_has_its_ends_and_exact_steps(given: dict[str, float], values: list[float]) -> None:
    made = sweep({"kind": INT8, "smoothquant": given}).expanded
    assert [scheme.smoothquant for scheme in made] == values  # type: ignore[union-attr]


def test_range_of_a_whole_number_takes_every_one() -> None:
    made = sweep({"kind": INT4, "calibration_samples": {"low": 3, "high": 5}}).expanded
    assert [repr(scheme.calibration_samples) for scheme in made] == ["3", "4", "5"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (
            [{"kind": INT8, "algorithm": ["gptq"], "smoothquant": [0.5, None]}],
            [f"{INT8}-gptq-sq0.5", f"{INT8}-gptq-sqnone"],
        ),
        ([{"kind": INT4, "group_size": 64}], [INT4]),
        ([{"kind": INT4, "symmetric": [True, False]}], [f"{INT4}-sym", f"{INT4}-nosym"]),
        (
            [{"kind": INT4, "algorithm": "awq", "group_size": [64]}, {"kind": INT4}],
            [f"{INT4}-awq-g64", f"{INT4}-gptq-g128"],
        ),
        ([{"kind": "w8a16", "group_size": [None, 128]}], ["w8a16", "w8a16-g128"]),
        ([{"kind": INT8, "smoothquant": [1, 0.00001]}], [f"{INT8}-sq1", f"{INT8}-sq1e-05"]),
        (
            [{"kind": INT4, "calibration_samples": [8], "ignore": [["lm_head"], ["lm_head", "re:.*down_proj"]]}],
            [f"{INT4}-cal8", f"{INT4}-ignoree5030b-cal8"],
        ),
    ],
)
def test_name_has_a_tag_for_each_field_that_varies(space: list[dict[str, Any]], expected: list[str]) -> None:
    assert names(sweep(*space)) == expected


def test_name_stays_when_a_choice_is_added() -> None:
    before, after = (
        sweep({"kind": INT4, "algorithm": ["gptq"], "group_size": sizes, "ignore": [["lm_head"], *more]})
        for sizes, more in (([64], [["a"]]), ([32, 64], [["b"], ["a"]]))
    )
    called = {scheme.bare: scheme.name for scheme in after.expanded}
    assert [called[scheme.bare] for scheme in before.expanded] == names(before)
    assert len(set(called.values())) == len(called) == 6


def test_recipes_of_one_file_name_are_told_apart() -> None:
    found = experiment({"kind": "recipe", "path": ["one/recipe.yaml", "two/recipe.yaml"]}).schemes
    assert [scheme.path for scheme in found] == [  # type: ignore[union-attr]
        REPOSITORY / folder / "recipe.yaml" for folder in ("one", "two")
    ]
    first, second = (scheme.name for scheme in found)
    assert first != second
    assert first.startswith("recipe-recipe-")


@pytest.mark.parametrize("name", ["smollm2-sweep", "llama-3.1-8b-sweep"])
def test_every_name_of_a_shipped_sweep_is_a_name(name: str) -> None:
    made = load_experiment(REPOSITORY / f"configs/experiments/{name}.yaml").schemes
    assert len(made) >= 12
    assert SCHEMES.validate_python([scheme.model_dump() for scheme in made]) == made


def test_choice_that_changes_nothing_makes_no_second_scheme() -> None:
    made = sweep({"kind": INT4, "algorithm": ["gptq", "rtn"], "calibration_samples": [4, 8], "group_size": [64, 64]})
    assert names(made) == [f"{INT4}-gptq-g64-cal4", f"{INT4}-gptq-g64-cal8", f"{INT4}-rtn-g64"]


def test_listed_scheme_stays_and_the_same_one_of_the_sweep_goes() -> None:
    listed = {"kind": INT4, "group_size": 64, "name": "mine"}
    assert [s.name for s in experiment(THREE, schemes=[listed]).schemes] == ["mine", f"{INT4}-g32", f"{INT4}-g128"]


def test_experiment_that_was_written_out_is_read_as_the_same() -> None:
    asked = experiment(THREE, FINE, schemes=[{"kind": "fp8-dynamic"}], search="random", samples=5)
    assert Experiment.model_validate(yaml.safe_load(yaml.safe_dump(asked.model_dump(mode="json")))) == asked


def test_draws_are_different_and_of_the_space() -> None:
    space = (THREE, {"kind": INT8, "algorithm": ["gptq", "rtn"], "smoothquant": [0.5, 0.6, 0.7]})
    drawn = sweep(*space, search="random", samples=8).expanded
    assert len(set(drawn)) == 8
    assert set(drawn) < set(sweep(*space).expanded)
    assert set(sweep(*space, search="random", samples=9).expanded) == set(sweep(*space).expanded)


def test_draws_come_from_the_seed_and_more_samples_keep_the_earlier_ones() -> None:
    few, more = (names(sweep(FINE, THREE, search="random", samples=n, seed=7)) for n in (6, 12))
    assert few == more[:6]
    assert few == names(sweep(FINE, THREE, search="random", samples=6, seed=7))
    assert few != names(sweep(FINE, THREE, search="random", samples=6, seed=8))


def test_draws_from_a_range_without_steps_cover_it_under_short_names() -> None:
    asked = sweep(FINE, search="random", samples=200)
    values = [scheme.smoothquant for scheme in asked.expanded]  # type: ignore[union-attr]
    quarters = [sum(low <= value < low + 0.125 for value in values) for low in (0.25, 0.375, 0.5, 0.625)]
    assert sum(quarters) >= 199  # the upper end itself may be drawn
    assert min(quarters) > 25
    assert max(map(len, names(asked))) == len(f"{INT8}-sq0.1234")
    assert asked.size is None


def test_search_by_optuna_gets_a_description_and_makes_schemes_as_it_goes() -> None:
    asked = sweep(
        THREE,
        FINE,
        {"kind": INT4, "calibration_samples": {"low": 8, "high": 64, "step": 8}},
        search="optuna",
        samples=4,
    )
    assert asked.expanded == ()
    assert asked.parameters() == (
        (Choices("group_size", (32, 64, 128)),),
        (Range("smoothquant", 0.25, 0.75, None, integer=False),),
        (Range("calibration_samples", 8, 64, 8, integer=True),),
    )
    assert asked.scheme(0, {"group_size": 64}).name == f"{INT4}-g64"
    near = asked.scheme(1, {"smoothquant": 0.333333333})
    assert (near.name, near.smoothquant) == (f"{INT8}-sq0.3333", 0.3333)  # type: ignore[union-attr]
    stepped = asked.scheme(2, {"calibration_samples": 15.9})
    assert (stepped.name, stepped.calibration_samples) == (f"{INT4}-g128-cal16", 16)  # type: ignore[union-attr]
    for index, values in ((0, {"group_size": 48}), (0, {}), (0, {"algorithm": "awq"}), (1, {"smoothquant": "high"})):
        with pytest.raises(ValueError, match=r"group_size|values for|smoothquant"):
            asked.scheme(index, values)


def test_optuna_leaves_schemes_as_listed_and_names_the_corners_for_checks() -> None:
    asked = experiment(FINE, schemes=[{"kind": "fp8-dynamic"}], search="optuna", samples=3)
    assert [scheme.name for scheme in asked.schemes] == ["fp8-dynamic"]
    assert [scheme.name for _, scheme in asked.possible] == ["fp8-dynamic", f"{INT8}-sq0.25", f"{INT8}-sq0.75"]
    assert [field for field, _ in asked.possible] == ["schemes.0", "sweep.space.0", "sweep.space.0"]
    assert experiment(FINE, search="optuna", samples=3).schemes == ()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"kind": "int9"}, ["sweep.space.1.kind: 'int9' is not a kind", "fp8-dynamic", "recipe"]),
        ({"group_size": 64}, ["sweep.space.1.kind: missing"]),
        ("fp8-dynamic", ["sweep.space.1: 'fp8-dynamic'", "dictionary"]),
        ({"kind": INT4, "groupsize": [64]}, ["sweep.space.1.groupsize: unknown key", "did you mean 'group_size'"]),
        ({"kind": INT4, "name": "mine"}, ["sweep.space.1.name: 'mine'", "remove it"]),
        ({"kind": INT4, "group_size": 8}, ["sweep.space.1.group_size: 8 ", "greater than or equal to 16"]),
        ({"kind": INT4, "group_size": [64, 8]}, ["sweep.space.1.group_size.1: 8 ", "greater than or equal to 16"]),
        ({"kind": INT4, "algorithm": ["gtpq"]}, ["sweep.space.1.algorithm.0: 'gtpq'", "'gptq', 'awq' or 'rtn'"]),
        ({"kind": INT4, "algorithm": []}, ["sweep.space.1.algorithm: []", "list at least one"]),
        ({"kind": INT4, "algorithm": {"low": 1, "high": 2}}, ["sweep.space.1.algorithm", "list of choices"]),
        ({"kind": INT4, "group_size": {"low": 8, "high": 64}}, ["sweep.space.1.group_size.low: 8 "]),
        ({"kind": INT8, "smoothquant": {"low": 0, "high": 2, "step": 1}}, ["sweep.space.1.smoothquant.high: 2 "]),
        ({"kind": INT8, "smoothquant": {"low": None, "high": 1}}, ["sweep.space.1.smoothquant.low: None", "a number"]),
        ({"kind": INT4, "group_size": {"low": 64}}, ["sweep.space.1.group_size.high: missing", "both ends"]),
        ({"kind": INT4, "group_size": {"low": 64, "hihg": 1}}, ["sweep.space.1.group_size.hihg", "'high'"]),
        ({"kind": INT4, "group_size": {"low": 64, "high": 32}}, ["low 64 is not below high 32", "swap"]),
        ({"kind": INT4, "group_size": {"low": 32, "high": 64, "step": 0.5}}, ["group_size.step: 0.5", "whole number"]),
        ({"kind": INT8, "smoothquant": {"low": 0, "high": 1, "step": 0}}, ["smoothquant.step: 0 ", "above 0"]),
        ({"kind": INT4, "ignore": [["lm_head"], "other"]}, ["sweep.space.1.ignore.1: 'other'"]),
        ({"kind": INT4, "ignore": [[3]]}, ["sweep.space.1.ignore.0.0: 3 "]),
        ({"kind": "recipe"}, ["sweep.space.1.path: missing"]),
        (FINE, ["sweep.space.1.smoothquant: 0.25 to 0.75 without a step", "add a step"]),
    ],
)
def test_mistake_in_a_template_gets_one_helpful_line(template: Any, words: list[str]) -> None:
    line = refused({"kind": "fp8-dynamic"}, template)
    assert not [word for word in words if word not in line], line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"samples": 2}, ["sweep.samples: 2", "exhaustive", "remove it"]),
        ({"search": "random"}, ["sweep.samples: missing", "random"]),
        ({"search": "optuna"}, ["sweep.samples: missing", "optuna"]),
        (
            {"search": "random", "samples": 4},
            ["sweep.samples: 4", "the space has 3 different schemes", "request fewer"],
        ),
        ({"search": "grid"}, ["sweep.search: 'grid'", "'exhaustive', 'random' or 'optuna'"]),
        ({"serch": "random"}, ["sweep.serch: unknown key", "did you mean 'search'"]),
        ({"max_concurrent": 0}, ["sweep.max_concurrent: 0"]),
        ({"schemes": [{"kind": INT4, "name": f"{INT4}-g64"}]}, [f"schemes: the name '{INT4}-g64'", "another `name`"]),
        ({"overrides": ("calibration=null",)}, ["calibration: missing", f"{INT4}-g32"]),
        (
            {"overrides": ("calibration=null",), "search": "optuna", "samples": 2},
            ["calibration: missing", f"{INT4}-g32"],
        ),
        ({"overrides": ("sweep.space=[]",)}, ["sweep.space: []"]),
        ({"overrides": ("sweep=null",)}, ["schemes: empty", "`sweep`"]),
    ],
)
def test_mistake_in_a_sweep_gets_one_helpful_line(settings: dict[str, Any], words: list[str]) -> None:
    line = refused(THREE, **settings)
    assert not [word for word in words if word not in line], line


def test_fewer_schemes_than_combinations_are_counted_as_they_are() -> None:
    line = refused({"kind": INT4, "algorithm": "rtn", "calibration_samples": [4, 8]}, search="random", samples=2)
    assert "2 requested, but the space has 1 different schemes" in line
