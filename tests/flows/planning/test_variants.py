"""A variant that is more than a scheme: which steps it has, and which it shares."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from refusals import refusal
from tests_support import H100, write_model

from configs.base import UserError
from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.planning import capacity, plan
from flows.planning.variant_plan import VariantPlan

NGRAM = {"kind": "ngram", "num_speculative_tokens": 3}
INT8 = {"kind": "int8-w8a8", "algorithm": "rtn", "smoothquant": None}


def made(experiment_file: Any, hardware: Hardware, *variants: dict[str, Any], **sections: Any) -> list[VariantPlan]:
    file = experiment_file(schemes=[], variants=list(variants), **sections)
    return list(plan.make(load_experiment(file), hardware).variants)


def test_variant_that_is_batched_otherwise_is_evaluated_with_the_base(experiment_file: Any, hardware: Hardware) -> None:
    base, small = made(
        experiment_file, hardware, {"name": "small", "serving": {"engine_args": {"max_num_batched_tokens": 64}}}
    )
    assert small.checkpoint == base.checkpoint
    assert [s.fingerprint for s in small.evaluations] == [s.fingerprint for s in base.evaluations]
    assert small.control is None
    assert small.engine_args == {**base.engine_args, "max_num_batched_tokens": 64}
    ours, theirs = small.benchmarks[0], base.benchmarks[0]
    assert ours.fingerprint != theirs.fingerprint
    assert ours.settings["engine_args_of_base"] == theirs.settings["engine_args"]


@pytest.mark.parametrize("serving", [{"kv_cache_dtype": "fp8"}, {"speculative": NGRAM}, {"max_model_len": 256}])
def test_variant_that_may_answer_otherwise_is_evaluated_for_itself(
    experiment_file: Any, hardware: Hardware, serving: dict[str, Any]
) -> None:
    base, other = made(experiment_file, hardware, {"name": "other", "serving": serving})
    assert {step.fingerprint for step in other.evaluations}.isdisjoint(step.fingerprint for step in base.evaluations)


def test_named_baseline_is_what_others_are_benchmarked_beside(experiment_file: Any, hardware: Hardware) -> None:
    """And the base model is a variant like others, with the same checkpoint and evaluations."""
    int8 = {"name": "int8", "scheme": INT8, "serving": {"max_num_seqs": 2}}
    as_ever = {variant.name: variant for variant in made(experiment_file, hardware, int8)}
    baseline, base, fp8 = made(
        experiment_file, hardware, {"name": "fp8", "scheme": {"kind": "fp8-dynamic"}}, int8, baseline="int8"
    )
    assert (baseline.name, base.name, fp8.name) == ("int8", "base", "fp8")
    assert baseline.control is not None and base.control is None
    assert baseline.checkpoint.fingerprint == as_ever["int8"].checkpoint.fingerprint
    assert [s.fingerprint for s in base.evaluations] == [s.fingerprint for s in as_ever["base"].evaluations]
    for variant in (base, fp8):
        step = variant.benchmarks[0]
        assert step.inputs["base"] == baseline.checkpoint.fingerprint
        assert step.settings["engine_args_of_base"] == baseline.engine_args
    assert "engine_args_of_base" not in baseline.benchmarks[0].settings


@pytest.mark.parametrize(("own", "expected"), [({}, 6.0), ({"price_per_hour": 5.0}, 5.0)])
def test_price_of_a_named_baseline_is_its_own(experiment_file: Any, own: dict[str, float], expected: float) -> None:
    two = {"name": "two", "serving": {"tensor_parallel_size": 2}, **own}
    file = experiment_file(schemes=[], variants=[two], baseline="two", decision={"price_per_hour": 3.0})
    for settings, price in ([], expected), (["baseline=base"], 3.0):
        experiment = load_experiment(file, settings)
        assert experiment.price_per_hour(experiment.baseline_variant) == price


def test_baseline_that_cannot_be_served_here_is_refused(experiment_file: Any, hardware: Hardware) -> None:
    """It is not left out like others: nothing could be compared."""
    schemes = [{"kind": "w8a16", "algorithm": "rtn"}, {"kind": "fp8-dynamic"}]
    path = experiment_file(schemes=schemes, baseline="w8a16", unservable="leave_out")
    with pytest.raises(UserError, match=r"baseline: 'w8a16' cannot be served here: .*; name another variant"):
        capacity.check(plan.make(load_experiment(path), hardware))


def test_baseline_that_is_not_there_is_refused_with_the_names_that_are(experiment_file: Any) -> None:
    wide = {"name": "wide", "serving": {"max_num_seqs": 2}}
    said = "baseline: 'fp8' is not the name of a variant; choose one of base, fp8-dynamic, wide"
    with pytest.raises(UserError, match=re.escape(said)):
        load_experiment(experiment_file(variants=[wide], baseline="fp8"))


def test_scheme_and_setting_together_share_the_scheme_s_checkpoint(experiment_file: Any, hardware: Hardware) -> None:
    both = {"name": "both", "scheme": INT8, "serving": {"speculative": NGRAM}}
    _, alone, both_plan = made(experiment_file, hardware, {"name": "alone", "scheme": INT8}, both)
    assert both_plan.checkpoint.fingerprint == alone.checkpoint.fingerprint
    assert both_plan.engine_args["speculative_config"] == {
        "method": "ngram",
        "num_speculative_tokens": 3,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 2,
    }


def test_scheme_as_a_variant_has_the_steps_of_the_short_form(experiment_file: Any, hardware: Hardware) -> None:
    _, long = made(experiment_file, hardware, {"name": "int8-w8a8", "scheme": INT8})
    _, short = plan.make(load_experiment(experiment_file(schemes=[INT8])), hardware).variants
    assert [step.fingerprint for step in long.steps] == [step.fingerprint for step in short.steps]


def test_engine_arguments_of_a_variant_are_added_to_the_experiment_s(experiment_file: Any, hardware: Hardware) -> None:
    variant = {"name": "one", "serving": {"engine_args": {"block_size": 32}}}
    serving = {"engine_args": {"seed": 3}, "max_num_seqs": 8}
    base, one = made(experiment_file, hardware, variant, serving=serving)
    assert one.engine_args == {**base.engine_args, "block_size": 32}
    assert base.engine_args["max_num_seqs"] == one.engine_args["max_num_seqs"] == 8


def test_draft_counts_by_its_content_and_not_by_its_place(
    experiment_file: Any, hardware: Hardware, tmp_path: Path
) -> None:
    folders = [write_model(tmp_path / name) for name in ("here", "there", "other")]
    (folders[2] / "config.json").write_text('{"model_type": "another"}')
    for folder in folders[:2]:
        os.utime(folder / "model.safetensors", (1, 1))
    variants = [
        {"name": folder.name, "serving": {"speculative": {"kind": "draft_model", "path": str(folder)}}}
        for folder in folders
    ]
    _, here, there, other = made(experiment_file, hardware, *variants)
    assert here.benchmarks[0].fingerprint == there.benchmarks[0].fingerprint
    assert here.evaluations[0].fingerprint == there.evaluations[0].fingerprint
    assert here.benchmarks[0].fingerprint != other.benchmarks[0].fingerprint
    assert here.engine_args["speculative_config"]["model"] == str(folders[0])


def test_checkpoint_that_is_there_is_prepared_and_never_quantized(
    experiment_file: Any, hardware: Hardware, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "published")
    checkpoint = {"kind": "path", "path": str(folder)}
    base, published = made(experiment_file, hardware, {"name": "published", "checkpoint": checkpoint})
    assert (published.checkpoint.kind, published.scheme) == ("prepare", None)
    assert published.checkpoint.fingerprint != base.checkpoint.fingerprint
    assert published.in_words == "published"


WIDE = {"name": "wide", "serving": {"tensor_parallel_size": 2}}


def test_engine_over_two_gpus_is_evaluated_with_the_base_and_takes_two_slots(experiment_file: Any) -> None:
    load = {"kind": "concurrent", "streams": [1], "prompt_tokens": 8, "output_tokens": 8, "duration_s": 1}
    file = experiment_file(schemes=[], variants=[WIDE], accelerator="cuda", load=load)
    planned = plan.make(load_experiment(file), H100.model_copy(update={"gpus": 4}))
    base, wide = planned.variants
    assert [planned.sizes(variant) for variant in (base, wide)] == [(1, 1), (2, 1)]
    assert not any(planned.one_by_one(variant) or planned.fills_host(variant) for variant in (base, wide))
    assert [s.fingerprint for s in wide.evaluations] == [s.fingerprint for s in base.evaluations]
    two = plan.make(planned.experiment, H100.model_copy(update={"gpus": 2}))
    assert [two.one_by_one(variant) for variant in two.variants] == [False, True], "no room for three GPUs"
    assert [two.fills_host(variant) for variant in two.variants] == [False, True]


def test_price_is_that_of_the_base_for_as_many_gpus_unless_a_variant_has_its_own(experiment_file: Any) -> None:
    own = {"name": "own", "serving": {"max_num_seqs": 8}, "price_per_hour": 1.25}
    file = experiment_file(schemes=[], variants=[WIDE, own], accelerator="cuda", decision={"price_per_hour": 2.0})
    planned = plan.make(load_experiment(file), H100.model_copy(update={"gpus": 2}))
    assert [variant.price_per_hour for variant in planned.variants] == [2.0, 4.0, 1.25]


@pytest.mark.parametrize(
    ("gpus", "heads", "said"),
    [
        (1, 32, "variants.0.serving.tensor_parallel_size: 2 GPUs requested, this machine has 1"),
        (2, 9, "variants.0.serving.tensor_parallel_size: 9 attention heads cannot be shared out evenly among 2 GPUs"),
    ],
)
def test_engine_over_gpus_that_cannot_be(
    experiment_file: Any, tmp_path: Path, gpus: int, heads: int, said: str
) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "fake", "num_attention_heads": heads}))
    model = {"kind": "path", "path": str(folder)}
    experiment = load_experiment(experiment_file(schemes=[], variants=[WIDE], model=model, accelerator="cuda"))
    with pytest.raises(UserError, match=re.escape(said)):
        capacity.check(plan.make(experiment, H100.model_copy(update={"gpus": gpus})))


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"name": "a"}, "variants.0: is the base itself; give it a `scheme`, a `checkpoint` or other `serving`"),
        ({"name": "base", "serving": {"max_num_seqs": 2}}, "variants: the name 'base' is reserved for the base model"),
        ({"name": "tiny", "scheme": INT8, "checkpoint": {"kind": "path", "path": "x"}}, "is not compressed again"),
        ({"name": "a", "serving": {"port": 9}}, "variants.0.serving: port: where a deployment listens is no part"),
        (
            {"name": "a", "serving": {"gpu_share": 0.5, "gpu_memory_utilization": 0.4}},
            "all variants have the same share of a GPU",
        ),
        ({"name": "a", "serving": {"tensor_parallel_size": 2}}, "tensor_parallel_size: 2 on a CPU"),
        ({"name": "a", "serving": {"max_num_sequences": 2}}, "variants.0.serving.max_num_sequences: unknown key"),
        ({"name": "a", "serving": {"max_model_len": 64}}, "exceed variants.0.serving.max_model_len 64"),
        ({"name": "a", "serving": {"kv_cache_dtype": "int3"}}, "variants.0.serving.kv_cache_dtype: 'int3'"),
        ({"name": "a", "serving": {"engine_args": {"kv_cache_dtype": "fp8"}}}, "use serving.kv_cache_dtype"),
        (
            {"name": "a", "serving": {"speculative": {"kind": "luck"}}},
            "variants.0.serving.speculative.kind: 'luck' is not a kind",
        ),
        (
            {"name": "a", "serving": {"speculative": {**NGRAM, "prompt_lookup_min": 9}}},
            "prompt_lookup_min: 9 is more than prompt_lookup_max 4",
        ),
        ({"name": "a", "checkpoint": {"kind": "path", "path": "nowhere"}}, "variants.0.checkpoint.path"),
        (
            {"name": "a", "serving": {"max_num_seqs": 2}, "price_per_hour": 1},
            "variants.0.price_per_hour: set, but the base has no price to compare with; add decision.price_per_hour",
        ),
        (
            {"name": "a", "serving": {"speculative": {"kind": "eagle", "path": "nowhere"}}},
            "variants.0.serving.speculative.path",
        ),
    ],
)
def test_variant_that_cannot_be_is_refused_in_a_line(
    experiment_file: Any, built: None, capfd: Any, variant: dict[str, Any], said: str
) -> None:
    load = {"kind": "concurrent", "streams": [1], "prompt_tokens": 60, "output_tokens": 8, "duration_s": 1}
    assert said in refusal(capfd, experiment_file(schemes=[], variants=[variant], load=load))


def test_same_name_of_a_scheme_and_a_variant_is_refused(experiment_file: Any, built: None, capfd: Any) -> None:
    file = experiment_file(variants=[{"name": "fp8-dynamic", "serving": {"max_num_seqs": 2}}])
    assert "variants: the name 'fp8-dynamic' is used twice" in refusal(capfd, file)


def test_experiment_without_anything_to_try_is_refused(experiment_file: Any, built: None, capfd: Any) -> None:
    assert "schemes: empty; list at least one" in refusal(capfd, experiment_file(schemes=[]))


def test_checkpoint_of_another_model_is_refused_until_it_is_asked_for(
    experiment_file: Any, built: None, capfd: Any, tmp_path: Path
) -> None:
    base, other = write_model(tmp_path / "base"), write_model(tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "fake", "vocab_size": 7}))
    variant = {"name": "other", "checkpoint": {"kind": "path", "path": str(other)}}
    sections: dict[str, Any] = {"schemes": [], "model": {"kind": "path", "path": str(base)}}
    line = refusal(capfd, experiment_file(variants=[variant], **sections))
    assert "differs from the base in its vocabulary; set variants.0.another_model: true" in line


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "not a JSON object; copy or download it again"),
        ('{"model_type": "fake", "auto_map": {"AutoModel": "x.py"}}', "auto_map"),
        ('{"model_type": "fake"}', "has another tokenizer than the base"),
    ],
)
def test_draft_that_cannot_guess_is_refused(
    experiment_file: Any, built: None, capfd: Any, tmp_path: Path, config: str, said: str
) -> None:
    base, draft = write_model(tmp_path / "base"), write_model(tmp_path / "draft")
    (draft / "config.json").write_text(config)
    (draft / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    variant = {"name": "drafted", "serving": {"speculative": {"kind": "draft_model", "path": str(draft)}}}
    file = experiment_file(schemes=[], model={"kind": "path", "path": str(base)}, variants=[variant])
    line = refusal(capfd, file)
    assert "variants.0.serving.speculative.path" in line and said in line
