"""Sweeps: which variants a space holds, what they are called, and one helpful line for each mistake."""

import json
from itertools import product
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from configs.base import REPOSITORY, UserError
from configs.experiment import Experiment
from configs.loading import load_experiment
from configs.parameters import Choices, Range
from configs.schemes import Scheme
from configs.sweep import Sweep

DEMO = REPOSITORY / "configs/experiments/smollm2-cpu.yaml"
SCHEMES = TypeAdapter(tuple[Scheme, ...])
INT8, INT4 = "int8-w8a8", "int4-w4a16"
FINE = {"kind": INT8, "smoothquant": {"low": 0.25, "high": 0.75}}
THREE = {"kind": INT4, "group_size": [32, 64, 128]}


def sweep(*space: dict[str, Any], **settings: Any) -> Sweep:
    return Sweep.model_validate({"space": space, **settings})


def names(asked: Sweep) -> list[str]:
    return [variant.name for variant in asked.expanded]


def schemes(asked: Sweep) -> list[Any]:
    return [variant.scheme for variant in asked.expanded]


def experiment(*space: Any, schemes: Any = (), overrides: tuple[str, ...] = (), **settings: Any) -> Experiment:
    """The demo with a sweep instead of its schemes, or beside those given."""
    asked = json.dumps({"space": space, **settings})
    return load_experiment(DEMO, [f"sweep={asked}", f"schemes={json.dumps(schemes)}", *overrides])


def tried(asked: Experiment) -> list[Any]:
    """The schemes of an experiment's variants."""
    return [variant.scheme for variant in asked.candidates.known]


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
    assert [s.bare for s in schemes(asked)] == [s.bare for s in SCHEMES.validate_python(expected)]
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
    made = schemes(sweep({"kind": INT8, "smoothquant": given}))
    assert [scheme.smoothquant for scheme in made] == values


def test_range_of_a_whole_number_takes_every_one() -> None:
    made = schemes(sweep({"kind": INT4, "calibration_samples": {"low": 3, "high": 5}}))
    assert [repr(scheme.calibration_samples) for scheme in made] == ["3", "4", "5"]


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
    called = {scheme.bare: scheme.name for scheme in schemes(after)}
    assert [called[scheme.bare] for scheme in schemes(before)] == names(before)
    assert len(set(called.values())) == len(called) == 6


def test_recipes_of_one_file_name_are_told_apart() -> None:
    found = tried(experiment({"kind": "recipe", "path": ["one/recipe.yaml", "two/recipe.yaml"]}))
    assert [scheme.path for scheme in found] == [REPOSITORY / folder / "recipe.yaml" for folder in ("one", "two")]
    first, second = (scheme.name for scheme in found)
    assert first != second
    assert first.startswith("recipe-recipe-")


@pytest.mark.parametrize("name", ["smollm2-sweep", "llama-3.1-8b-sweep"])
def test_every_name_of_a_shipped_sweep_is_a_name(name: str) -> None:
    made = tried(load_experiment(REPOSITORY / f"configs/experiments/{name}.yaml"))
    assert len(made) >= 12
    assert list(SCHEMES.validate_python([scheme.model_dump() for scheme in made])) == made


def test_choice_that_changes_nothing_makes_no_second_scheme() -> None:
    made = sweep({"kind": INT4, "algorithm": ["gptq", "rtn"], "calibration_samples": [4, 8], "group_size": [64, 64]})
    assert names(made) == [f"{INT4}-gptq-g64-cal4", f"{INT4}-gptq-g64-cal8", f"{INT4}-rtn-g64"]


def test_listed_scheme_stays_and_the_same_one_of_the_sweep_goes() -> None:
    listed = {"kind": INT4, "group_size": 64, "name": "mine"}
    assert [s.name for s in tried(experiment(THREE, schemes=[listed]))] == ["mine", f"{INT4}-g32", f"{INT4}-g128"]


def test_experiment_that_was_written_out_is_read_as_the_same() -> None:
    asked = experiment(THREE, FINE, schemes=[{"kind": "fp8-dynamic"}], search="random", samples=5)
    assert Experiment.model_validate(yaml.safe_load(yaml.safe_dump(asked.model_dump(mode="json")))) == asked


def test_draws_are_different_and_of_the_space() -> None:
    space = (THREE, {"kind": INT8, "algorithm": ["gptq", "rtn"], "smoothquant": [0.5, 0.6, 0.7]})
    drawn = names(sweep(*space, search="random", samples=8))
    assert len(set(drawn)) == 8
    assert set(drawn) < set(names(sweep(*space)))
    assert set(names(sweep(*space, search="random", samples=9))) == set(names(sweep(*space)))


def test_draws_come_from_the_seed_and_more_samples_keep_the_earlier_ones() -> None:
    few, more = (names(sweep(FINE, THREE, search="random", samples=n, seed=7)) for n in (6, 12))
    assert few == more[:6]
    assert few == names(sweep(FINE, THREE, search="random", samples=6, seed=7))
    assert few != names(sweep(FINE, THREE, search="random", samples=6, seed=8))


def test_draws_from_a_range_without_steps_cover_it_under_short_names() -> None:
    asked = sweep(FINE, search="random", samples=200)
    values = [scheme.smoothquant for scheme in schemes(asked)]
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
    assert asked.variant(0, {"group_size": 64}).name == f"{INT4}-g64"
    near: Any = asked.variant(1, {"smoothquant": 0.333333333}).scheme
    assert (near.name, near.smoothquant) == (f"{INT8}-sq0.3333", 0.3333)
    stepped: Any = asked.variant(2, {"calibration_samples": 15.9}).scheme
    assert (stepped.name, stepped.calibration_samples) == (f"{INT4}-g128-cal16", 16)
    for index, values in ((0, {"group_size": 48}), (0, {}), (0, {"algorithm": "awq"}), (1, {"smoothquant": "high"})):
        with pytest.raises(ValueError, match=r"group_size|values for|smoothquant"):
            asked.variant(index, values)


def test_optuna_leaves_schemes_as_listed_and_names_the_corners_for_checks() -> None:
    asked = experiment(FINE, schemes=[{"kind": "fp8-dynamic"}], search="optuna", samples=3)
    assert [variant.name for variant in asked.candidates.known] == ["fp8-dynamic"]
    assert [s.name for _, s in asked.candidates.schemes_by_path] == ["fp8-dynamic", f"{INT8}-sq0.25", f"{INT8}-sq0.75"]
    assert [p for p, _ in asked.candidates.schemes_by_path] == ["schemes.0", "sweep.space.0", "sweep.space.0"]
    assert experiment(FINE, search="optuna", samples=3).candidates.known == ()


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


WAYS = {"kv_cache_dtype": ["auto", "fp8"], "engine_args": {"max_num_batched_tokens": [2048, 8192]}}


def test_schemes_are_tried_in_every_way_to_serve_and_so_is_the_base() -> None:
    asked = experiment({"kind": "fp8-dynamic", "serving": WAYS}, {"kind": INT4, "group_size": 64})
    ways = [f"kv{kv}-tokens{tokens}" for kv, tokens in product(["auto", "fp8"], [2048, 8192])]
    expected = [*(f"fp8-dynamic-{way}" for way in ways), INT4, *(f"base-{way}" for way in ways)]
    assert [variant.name for variant in asked.candidates.known] == expected
    assert asked.sweep and asked.sweep.tuned == (0,)
    last = asked.candidates.known[-1]
    assert (last.scheme, last.served(asked.serving).engine_args) == (None, {"max_num_batched_tokens": 8192})
    assert last.served(asked.serving).kv_cache_dtype == "fp8"
    assert asked.yaml_path(last.name) == asked.yaml_path(expected[0]) == "sweep.space.0"
    assert Experiment.model_validate(yaml.safe_load(yaml.safe_dump(asked.model_dump(mode="json")))) == asked


def test_base_is_tried_as_the_space_says_where_it_says_so() -> None:
    own = {"kv_cache_dtype": "fp8", "engine_args": {"max_num_batched_tokens": 8192}}
    assert names(sweep({"kind": "fp8-dynamic", "serving": WAYS}, {"serving": own}))[4:] == ["base-kvfp8-tokens8192"]
    other = sweep({"kind": "fp8-dynamic", "serving": WAYS}, {"serving": {"max_num_seqs": [8, 16]}})
    assert names(other)[4:6] == ["base-seqs8", "base-seqs16"] and len(names(other)) == 10


def test_way_that_is_the_base_itself_or_listed_is_not_tried_twice() -> None:
    kv = {"serving": {"kv_cache_dtype": ["auto", "fp8"]}}
    asked = experiment({"kind": "fp8-dynamic", **kv}, kv, schemes=[{"kind": "fp8-dynamic"}])
    tried_ones = [variant.name for variant in asked.candidates.known]
    assert tried_ones == ["fp8-dynamic", "fp8-dynamic-kvfp8", "base-kvfp8"]
    assert refused({"serving": {"kv_cache_dtype": "auto"}}).startswith("sweep: has only the base as it is served")


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        ({"speculative": [None, {"kind": "ngram", "num_speculative_tokens": 3}]}, ["specnone", "ngram3"]),
        ({"speculative": {"kind": "ngram", "prompt_lookup_max": 3}}, ["ngram4-lookup2to3"]),
        ({"max_num_seqs": {"low": 8, "high": 24, "step": 8}}, ["seqs8", "seqs16", "seqs24"]),
        ({"gpu_memory_utilization": {"low": 0.8, "high": 0.9, "step": 0.05}}, ["mem0.8", "mem0.85", "mem0.9"]),
        ({"enforce_eager": [True, False], "prefix_caching": True}, ["eager-prefix", "noeager-prefix"]),
        ({"engine_args": {"block_size": {"low": 16, "high": 32, "step": 16}}}, ["blocksize16", "blocksize32"]),
        ({"engine_args": {"enable_chunked_prefill": [True, False]}}, ["chunked", "nochunked"]),
    ],
)
def test_name_says_how_a_variant_is_served(serving: dict[str, Any], expected: list[str]) -> None:
    assert names(sweep({"serving": serving})) == [f"base-{tags}" for tags in expected]


def test_long_name_ends_in_a_hash_that_tells_it_apart() -> None:
    many = {f"some_rather_long_argument_of_an_engine_{n}": 1 for n in range(4)}
    made = names(sweep({"serving": {"engine_args": {**many, "z": [1, 2]}}}))
    assert [len(name) for name in made] == [80, 80] and made[0] != made[1]


def test_search_gets_engine_settings_among_its_parameters() -> None:
    ways = {"max_num_seqs": {"low": 8, "high": 64}, "speculative": [None, {"kind": "ngram"}]}
    asked = sweep({**THREE, "serving": ways}, search="optuna", samples=2)
    fields = [[parameter.field for parameter in one] for one in asked.parameters()]
    assert fields == [["group_size", "serving.max_num_seqs", "serving.speculative"], *[fields[0][1:]]]
    found = asked.variant(0, {"group_size": 64, "serving.max_num_seqs": 9.2, "serving.speculative": None})
    assert (found.name, found.serving.max_num_seqs) == (f"{INT4}-g64-seqs9-specnone", 9)
    assert sweep({**THREE, "serving": ways}, search="random", samples=20).expanded[0].serving.max_num_seqs >= 8


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"max_num_seq": [8]}, ["sweep.space.1.serving.max_num_seq: unknown key", "did you mean 'max_num_seqs'"]),
        ({"max_num_seqs": [8, 0]}, ["sweep.space.1.serving.max_num_seqs.1: 0 ", "greater than or equal to 1"]),
        ({"max_num_seqs": []}, ["sweep.space.1.serving.max_num_seqs: []", "list at least one"]),
        ({"max_num_seqs": {"low": 8, "high": 4}}, ["sweep.space.1.serving.max_num_seqs: low 8 is not below high 4"]),
        ({"kv_cache_dtype": {"low": 1, "high": 2}}, ["sweep.space.1.serving.kv_cache_dtype", "not a number"]),
        ({"kv_cache_dtype": ["fp4"]}, ["sweep.space.1.serving.kv_cache_dtype.0: 'fp4'"]),
        ({"gpu_memory_utilization": {"low": 0.5, "high": 0.9}}, ["serving.gpu_memory_utilization", "add a step"]),
        ({"port": [1, 2]}, ["sweep.space.1.serving: port: where a deployment listens"]),
        ({"engine_args": 3}, ["sweep.space.1.serving.engine_args: 3 is not a mapping"]),
        ({"engine_args": {"model": ["a"]}}, ["sweep.space.1.serving.engine_args: model: is fixed"]),
        ({"engine_args": {"kv_cache_dtype": ["fp8"]}}, ["engine_args: kv_cache_dtype: has a setting of its own"]),
        ({"engine_args": {"seed": {"low": 1}}}, ["sweep.space.1.serving.engine_args.seed.high: missing"]),
        ({"engine_args": {"seed": [{"a": 1}]}}, ["sweep.space.1.serving.engine_args.seed.0"]),
        ({"speculative": [{"kind": "medusa"}]}, ["sweep.space.1.serving.speculative.0", "'medusa' is not a kind"]),
        ({"speculative": {"kind": "ngram", "tokens": 3}}, ["serving.speculative.tokens: unknown key"]),
        ([8], ["sweep.space.1.serving: [8]", "dictionary"]),
    ],
)
def test_mistake_in_engine_settings_gets_one_helpful_line(serving: Any, words: list[str]) -> None:
    for template in ({"serving": serving}, {"kind": "fp8-dynamic", "serving": serving}):
        line = refused({"kind": "fp8-dynamic"}, template)
        assert not [word for word in words if word not in line], line


def test_settings_that_contradict_the_experiments_are_refused_with_their_template() -> None:
    memory = {"serving": {"gpu_memory_utilization": [0.4, 0.9]}}
    overrides = ("serving.gpu_share=0.5", "serving.gpu_memory_utilization=0.5")
    line = refused(memory, overrides=overrides)
    assert "sweep.space.0: serving of 'base-mem0.9', beside the experiment's: gpu_memory_utilization: 0.9" in line
    line = refused({"serving": {"max_model_len": [64, 1024]}})
    assert "exceed sweep.space.0.serving.max_model_len 64" in line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"samples": 2}, ["sweep.samples: 2", "exhaustive", "remove it"]),
        ({"search": "random"}, ["sweep.samples: missing", "random"]),
        ({"search": "optuna"}, ["sweep.samples: missing", "optuna"]),
        (
            {"search": "random", "samples": 4},
            ["sweep.samples: 4", "the space has 3 different variants", "request fewer"],
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
    assert "2 requested, but the space has 1 different variants" in line
