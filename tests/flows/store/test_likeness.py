"""Whether two checkpoints are of one model, by what their JSON says."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests_support import write_model

from flows.store import likeness


def changed(folder: Path, file: str, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (write_model(folder) / file).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("file", "content", "different"),
    [
        ("config.json", {"model_type": "fake", "quantization_config": {"quant_method": "gptq"}}, []),
        ("config.json", {"model_type": "fake", "hidden_size": 8}, ["architecture"]),
        ("config.json", {"model_type": "fake", "vocab_size": 9}, ["vocabulary"]),
        ("tokenizer.json", {"version": "2.0"}, []),
        ("tokenizer.json", {"model": {"vocab": {"a": 0}}}, ["tokenizer"]),
        ("tokenizer.json", {"added_tokens": [{"id": 1, "content": "<s>"}]}, ["tokenizer"]),
        ("chat_template.jinja", "{{ messages }}", ["chat template"]),
        ("tokenizer_config.json", {"chat_template": "{{ messages }}"}, ["chat template"]),
    ],
)
def test_checkpoints_differ_in_what_makes_a_model(
    tmp_path: Path, file: str, content: Any, different: list[str]
) -> None:
    base = write_model(tmp_path / "base")
    assert likeness.unlike(base, changed(tmp_path / "other", file, content)) == different


def test_template_in_a_file_of_its_own_is_the_one_in_the_settings(tmp_path: Path) -> None:
    inside = changed(tmp_path / "inside", "tokenizer_config.json", {"chat_template": "{{ messages }}\n"})
    assert likeness.unlike(inside, changed(tmp_path / "beside", "chat_template.jinja", "{{ messages }}")) == []


@pytest.mark.parametrize(
    ("said", "rounds"),
    [
        ({}, False),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, False),
        ({"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}, True),
        ({"quantization_config": {"config_groups": {"g": {"weights": {"num_bits": 4}}}}}, False),
        ({"quantization_config": {"config_groups": {"g": {"input_activations": {"num_bits": 8}}}}}, True),
        ({"compression_config": {"config_groups": {"g": {"input_activations": {"num_bits": 8}}}}}, True),
    ],
)
def test_checkpoint_says_whether_its_activations_are_rounded(
    tmp_path: Path, said: dict[str, Any], rounds: bool
) -> None:
    assert likeness.rounds_activations(changed(tmp_path / "model", "config.json", said)) is rounds
