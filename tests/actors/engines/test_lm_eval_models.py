"""What every engine is asked, token by token, by the real lm-eval: served, vllm and hf get the same."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actors import environments
from configs.accuracy import TASKS_FOLDER, Task
from configs.base import REPOSITORY

LENGTH = 4096
FITS, TOO_LONG = 2500, 5000
"""Bytes of a document, each a token of the test's tokenizers: lm-eval's model for servers cuts both."""
ENGINES, TOKENIZERS = ("served", "vllm", "hf"), ("bos", "plain", "template")
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: documents.jsonl}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{target}"
{further}
"""
TASKS = {
    "choice": ("multiple_choice", "0", 'doc_to_choice: [" yes", " never"]\nmetric_list: [{metric: acc}]'),
    "answer": (
        "generate_until",
        "one",
        "description: Short.\nmetric_list: [{metric: exact_match}]\n"
        "generation_kwargs: {do_sample: false, temperature: 0.7, max_new_tokens: 16, until: [end]}",
    ),
    "text": ("loglikelihood_rolling", "{{text}}", "metric_list: [{metric: word_perplexity}]"),
    "empty": ("loglikelihood", "", 'target_delimiter: ""\nmetric_list: [{metric: acc}]'),
    "unknown": (
        "generate_until",
        "one",
        "process_results: !function broken.not_a_number\nmetric_list: [{metric: acc, aggregation: mean}]",
    ),
}
DOCUMENTS = ["a short one", "", " ", "f " * (FITS // 2), "t " * (TOO_LONG // 2)]


def written(folder: Path) -> None:
    rows = ({"question": text, "text": text or "none"} for text in DOCUMENTS)
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, (kind, target, further) in TASKS.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, kind=kind, target=target, further=further))
    (folder / "broken.py").write_text("def not_a_number(doc, results):\n    return {'acc': float('nan')}\n")


def run(folder: Path, engine: str, tokenizer: str, *tasks: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """What one process is told to ask."""
    samples = folder / f"samples-{len(list(folder.glob('samples-*')))}"
    samples.mkdir()
    asked = [Task.model_validate({"path": folder / f"{task['name']}.yaml", **task}) for task in tasks]
    every = {
        "tasks": [task.model_dump(mode="json") for task in asked],
        "tasks_folder": str(TASKS_FOLDER),
        "samples": str(samples),
        "chat_template": tokenizer == "template",
        "system_instruction": None,
        "seed": 42,
        "share": None,
    }
    told = {**every, **settings}
    return {"engine": engine, "tokenizer": tokenizer, "context_length": LENGTH, "settings": told}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By name what was asked in each run, its result and the folder of its samples."""
    folder = tmp_path_factory.mktemp("prompts")
    written(folder)
    plain = [{"name": name} for name in ("choice", "answer", "text")]
    drawn = {"name": "answer", "seeds": 2, "gen_kwargs": {"temperature": 0.7, "top_p": 0.9, "max_gen_toks": 8}}
    runs = {f"{engine} {kind}": run(folder, engine, kind, *plain) for engine in ENGINES for kind in TOKENIZERS}
    runs |= {f"{engine} drawn": run(folder, engine, "bos", drawn) for engine in ENGINES}
    long = {"name": "answer", "gen_kwargs": {"max_gen_toks": LENGTH}}
    plainly = {"name": "answer", "chat_template": False}
    runs |= {
        "long answer": run(folder, "served", "bos", long),
        "empty answer": run(folder, "served", "bos", {"name": "empty"}),
        "no number": run(folder, "served", "bos", {"name": "unknown"}),
        "system": run(folder, "served", "bos", {"name": "answer"}, system_instruction="Be kind."),
        "no chat": run(folder, "served", "template", {"name": "answer"}, chat_template=False),
        "one as chat": run(folder, "served", "template", {"name": "choice"}, plainly),
        "system refused": run(folder, "served", "template", {"name": "answer"}, system_instruction="Be kind."),
    }
    (folder / "settings.json").write_text(json.dumps({"runs": list(runs.values())}))
    offline = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    interpreter = str(environments.interpreter("inference", "cpu"))
    command = [interpreter, str(REPOSITORY / "tests/fakes/record_prompts.py"), str(folder / "settings.json")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **offline, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "asked.json").read_text())
    return {
        name: found | {"samples": Path(one["settings"]["samples"])}
        for (name, one), found in zip(runs.items(), results, strict=True)
    }


def prompts(run: dict[str, Any], *, scored: bool) -> set[tuple[int, ...]]:
    return {tuple(one["prompt"]) for one in run["asked"] if one["echo"] is scored}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_engine_is_asked_the_same_tokens(asked: dict[str, Any], tokenizer: str) -> None:
    served, vllm, hf = (asked[f"{engine} {tokenizer}"] for engine in ENGINES)
    assert len(prompts(served, scored=False)) == len(DOCUMENTS)
    for scored in (True, False):
        assert prompts(served, scored=scored) == prompts(vllm, scored=scored)
    assert prompts(hf, scored=False) == prompts(served, scored=False)
    # what is scored last is in no input of a model that is asked for its logits
    assert prompts(hf, scored=True) == {tokens[:-1] for tokens in prompts(served, scored=True)}


def test_bos_is_there_once_where_the_tokenizer_adds_it_and_nowhere_else(asked: dict[str, Any]) -> None:
    bos = 0
    for tokenizer, count in (("bos", 1), ("template", 1), ("plain", 0)):
        whole = [one for one in asked[f"served {tokenizer}"]["asked"] if len(one["prompt"]) < FITS]
        generated = [one["prompt"].count(bos) for one in whole if not one["echo"]]
        assert set(generated) == {count}, tokenizer
        assert asked[f"served {tokenizer}"]["result"]["prompts"]["first_tokens"] == [bos][:count]


def test_document_that_fits_is_whole_and_a_longer_one_is_cut_and_counted(asked: dict[str, Any]) -> None:
    for engine in ENGINES:
        run = asked[f"{engine} bos"]
        lengths = {len(one["prompt"]) for one in run["asked"]}
        assert max(lengths) == LENGTH - (2 if engine == "hf" else 1)
        assert LENGTH - 16 in {len(one["prompt"]) for one in run["asked"] if not one["echo"]}
        assert 1 + len("Short.") + FITS in lengths
        tasks = run["result"]["tasks"]
        assert {name: (found["cut"], found["split"]) for name, found in tasks.items()} == {
            "choice": (1, 0),
            "answer": (1, 0),
            "text": (0, 1),
        }
        assert run["result"]["prompts"]["context_length"] == LENGTH


def test_sampling_settings_of_the_model_are_left_out_and_said(asked: dict[str, Any]) -> None:
    for one in asked["served bos"]["asked"]:
        assert (one["repetition_penalty"], one["top_p"], one["top_k"], one["min_p"]) == (1.0, 1.0, 0, 0.0)
        assert one["temperature"] == 0, "do_sample: false is greedy whatever temperature stands beside it"
    generated = [one for one in asked["hf bos"]["asked"] if not one["echo"]]
    assert {(one["repetition_penalty"], one["max_tokens"]) for one in generated} == {(1.0, 16)}
    assert max(one["answered"] for one in generated) > 3, "the model's own max_new_tokens"
    for engine in ENGINES:
        left_out = asked[f"{engine} bos"]["result"]["prompts"]["generation_config_left_out"]
        assert left_out == {"repetition_penalty": 1.5, "max_new_tokens": 3}


def test_answers_are_asked_for_alike(asked: dict[str, Any]) -> None:
    same = ("prompt", "max_tokens", "stop", "temperature", "seed")
    for name in ("bos", "drawn"):
        sides = (asked[f"{engine} {name}"]["asked"] for engine in ("served", "vllm"))
        served, vllm = ([{key: one[key] for key in same} for one in side if not one["echo"]] for side in sides)
        assert served == vllm
    (text,) = {row["resps"][0][0] for row in rows(asked["served bos"], "answer")}
    assert text == "one", "it ends at the first end-of-text token that is written"


def test_several_seeds_are_several_answers_to_each_document(asked: dict[str, Any]) -> None:
    for engine in ENGINES:
        found = asked[f"{engine} drawn"]
        assert found["result"]["tasks"]["answer"]["seeds"] == 2
        assert found["result"]["tasks"]["answer"]["documents"] == len(DOCUMENTS)
        drawn = sorted((row["doc_id"], row["seed"]) for row in rows(found, "answer"))
        assert drawn == [(place, seed) for place in range(len(DOCUMENTS)) for seed in (42, 43)]
    sampled = [one for one in asked["served drawn"]["asked"] if not one["echo"]]
    assert {one["seed"] for one in sampled} == {42, 43}
    assert {(one["temperature"], one["top_p"], one["max_tokens"]) for one in sampled} == {(0.7, 0.9, 8)}
    assert all("seed" not in row for row in rows(asked["served bos"], "answer"))


def test_system_instruction_is_in_every_prompt_or_is_refused(asked: dict[str, Any]) -> None:
    before, after = prompts(asked["served bos"], scored=False), prompts(asked["system"], scored=False)
    assert {len(tokens) for tokens in after} - {LENGTH - 16} == {
        len(tokens) + len("Be kind.") + 2 for tokens in before if len(tokens) < LENGTH - 16
    }
    assert "chat template refuses a system message" in asked["system refused"]["result"]["error"]


def test_task_may_be_asked_otherwise_than_the_rest(asked: dict[str, Any]) -> None:
    """The experiment asks for a chat, one task for none."""
    chat, none, own = (asked[name] for name in ("served template", "no chat", "one as chat"))
    assert prompts(own, scored=False) == prompts(none, scored=False) != prompts(chat, scored=False)
    assert prompts(own, scored=True) and prompts(own, scored=True) <= prompts(chat, scored=True)


def test_description_that_a_template_refuses_is_left_out_and_said(asked: dict[str, Any]) -> None:
    for engine in ENGINES:
        assert asked[f"{engine} template"]["result"]["prompts"]["system_left_out"]
        assert not asked[f"{engine} bos"]["result"]["prompts"]["system_left_out"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("long answer", "generates up to 4096 tokens, which leaves no room in a context of 4096 for a prompt"),
        ("empty answer", "document 0 of empty has an empty answer to score"),
    ],
)
def test_question_that_cannot_be_asked_is_refused_by_name(asked: dict[str, Any], name: str, message: str) -> None:
    assert message in asked[name]["result"]["error"]


def test_value_that_is_no_number_is_counted_and_written_as_none(asked: dict[str, Any]) -> None:
    found = asked["no number"]
    assert found["result"]["tasks"]["unknown"]["unknown"] == len(DOCUMENTS)
    assert found["result"]["tasks"]["unknown"]["metrics"] == {}
    assert [row["acc"] for row in rows(found, "unknown")] == [None] * len(DOCUMENTS)


def rows(found: dict[str, Any], task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (found["samples"] / f"{task}.jsonl").read_text().splitlines()]
