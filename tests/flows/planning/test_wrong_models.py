"""Model folders with a fault, each found by `plan` before any engine is asked."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import accepted, refusal

from flows.planning import library_sources

pytestmark = pytest.mark.usefixtures("hardware", "built")

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 4096,
}
TENSORS = {
    "model.embed_tokens.weight": [256, 64],
    "model.layers.0.self_attn.q_proj.weight": [64, 64],
    "model.layers.1.self_attn.q_proj.weight": [64, 64],
    "model.norm.weight": [64],
}
Change = Callable[[Path], object]


def header_of(tensors: dict[str, list[int]], dtype: str = "BF16", size: int = 2) -> tuple[dict[str, Any], int]:
    header, at = {}, 0
    for name, shape in tensors.items():
        count = size
        for length in shape:
            count *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count]}
        at += count
    return header, at


def write(file: Path, header: Any, data: int) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole model of two small layers."""
    known = frozenset({"LlamaForCausalLM", "OPTForCausalLM"})
    monkeypatch.setattr(library_sources, "generating_architectures", lambda accelerator: known)
    folder = tmp_path / "my model"
    folder.mkdir()
    write(folder / "model.safetensors", *header_of(TENSORS))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0, "b": 255}}}))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def config(**changes: Any) -> Change:
    return lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | changes))


def text(name: str, content: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def weights(change: Callable[[dict[str, Any]], object], more: int = 0) -> Change:
    def apply(folder: Path) -> None:
        header, data = header_of(TENSORS)
        change(header)
        write(folder / "model.safetensors", header, data + more)

    return apply


def tensor(**changes: Any) -> Change:
    return weights(lambda header: header["model.norm.weight"].update(changes))


def of_dtype(dtype: str, size: int) -> Change:
    return lambda folder: write(folder / "model.safetensors", *header_of(TENSORS, dtype, size))


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def link(name: str, target: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return apply


def index(content: Any) -> Change:
    return text("model.safetensors.index.json", json.dumps(content))


def decoy(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"PK")


def huge_header(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 12 << 30))
        file.truncate(13 << 30)  # sparse


def names_twice(folder: Path) -> None:
    header, data = header_of(TENSORS)
    again = json.dumps(header)[:-1] + ', "model.norm.weight": ' + json.dumps(header["model.norm.weight"]) + "}"
    write(folder / "model.safetensors", again.encode(), data)


WHOLE = {name: "model.safetensors" for name in TENSORS}
DEEP = b'{"a":' + b"[" * 100_000
CASES: list[tuple[str, Change, str]] = [
    (
        "auto_map_of_a_type",
        config(auto_map={"AutoModel": "x.X"}, model_type="mine"),
        "config.json needs its own code (auto_map), which never runs here, and transformers does not support",
    ),
    (
        "auto_map_of_a_class",
        config(auto_map={"AutoModel": "x.X"}, architectures=["MyLlamaForCausalLM"]),
        "config.json needs its own code (auto_map), which never runs here",
    ),
    (
        "auto_map_of_two",
        config(auto_map={"AutoModel": "x.X"}, architectures=["LlamaForCausalLM", "OPTForCausalLM"]),
        "config.json needs its own code (auto_map), which never runs here",
    ),
    ("auto_map_untyped", config(auto_map={}, model_type=None), "config.json needs its own code (auto_map)"),
    (
        "auto_map_tokenizer",
        text("tokenizer_config.json", '{"auto_map": {}}'),
        "tokenizer_config.json needs its own code",
    ),
    ("bin_decoy", decoy, "it holds pytorch_model.bin; only safetensors are loaded"),
    ("bin_alone", lambda f: (without("model.safetensors")(f), text("model.bin", "x")(f)), "it holds model.bin"),
    ("config_missing", without("config.json"), "has no config.json"),
    ("config_list", text("config.json", "[]"), "config.json: not a JSON object"),
    ("config_deep", text("config.json", DEEP), "config.json: not a JSON object"),
    ("config_empty", text("config.json", ""), "config.json: not a JSON object"),
    ("config_binary", text("config.json", b"\xff\xfe\x00"), "config.json: not a JSON object"),
    ("heads_0", config(num_attention_heads=0), "num_attention_heads is 0; it must be a whole number above 0"),
    ("heads_text", config(num_attention_heads="4"), "num_attention_heads is '4'"),
    ("heads_true", config(num_attention_heads=True), "num_attention_heads is True"),
    ("heads_odd", config(num_attention_heads=7), "hidden_size 64 is not divisible by num_attention_heads 7"),
    ("hidden_text", config(hidden_size="64"), "hidden_size is '64'"),
    ("hidden_negative", config(hidden_size=-64), "hidden_size is -64"),
    ("layers_float", config(num_hidden_layers=2.5), "num_hidden_layers is 2.5"),
    ("layers_mismatch", config(num_hidden_layers=40), "config.json says 40 layers, the weights have 2"),
    ("layers_fewer", config(num_hidden_layers=1), "config.json says 1 layers, the weights have 2"),
    ("width_mismatch", config(hidden_size=4096), "config.json says 256 tokens and a hidden size of 4096,"),
    ("vocabulary_mismatch", config(vocab_size=99999), "config.json says 99999 tokens"),
    (
        "quantized",
        config(quantization_config={"quant_method": "compressed-tensors"}),
        "is quantized already (compressed",
    ),
    ("quantized_otherwise", config(quantization_config="fp8"), "is quantized already"),
    (
        "t5",
        config(architectures=["T5ForConditionalGeneration"]),
        "T5ForConditionalGeneration is not a model with which vLLM",
    ),
    ("bert", config(architectures=["BertModel"]), "BertModel is not a model with which vLLM generates text"),
    ("architecture_text", config(architectures="LlamaForCausalLM"), "architectures is 'LlamaForCausalLM'; it must be"),
    ("architecture_none", config(architectures=[]), "architectures is []"),
    ("architecture_number", config(architectures=[3]), "architectures is [3]"),
    (
        "positions",
        config(max_position_embeddings=128),
        "serving.max_model_len: 2048 tokens requested, the model's config.json has 128 positions",
    ),
    (
        "positions_not_scaled",
        config(max_position_embeddings=128, rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        "serving.max_model_len: 2048 tokens requested, the model's config.json has 128 positions",
    ),
    (
        "tokenizer_missing",
        lambda f: [without(n)(f) for n in ("tokenizer.json", "tokenizer_config.json")],
        "no tokenizer",
    ),
    ("tokenizer_list", text("tokenizer_config.json", "[]"), "tokenizer_config.json: not a JSON object"),
    ("tokenizer_cut", text("tokenizer.json", '{"model": {'), "tokenizer.json: not a JSON object"),
    ("tokenizer_other", text("tokenizer.json", '{"model": {"vocab": {"a": 256}}}'), "tokenizer.json has a token 256"),
    ("tokenizer_other_list", text("tokenizer.json", json.dumps({"model": {"vocab": [["a", 0]] * 300}})), "a token 299"),
    ("generation_list", text("generation_config.json", "[1]"), "generation_config.json: not a JSON object"),
    ("html", text("model.safetensors", "<!doctype html>"), "not a safetensors file"),
    ("pointer", text("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "not a safetensors file"),
    ("empty", text("model.safetensors", ""), "not a safetensors file"),
    ("header_list", lambda f: write(f / "model.safetensors", [], 0), "not a safetensors file"),
    ("header_deep", lambda f: write(f / "model.safetensors", DEEP, 0), "not a safetensors file"),
    ("header_huge", huge_header, "a header of 12,884,901,888 bytes; at most 20,000,000"),
    ("bool", of_dtype("BOOL", 1), "is of dtype BOOL, which this project does not quantize"),
    ("fp8", of_dtype("F8_E5M2", 1), "is of dtype F8_E5M2, which this project does not quantize"),
    ("dtype_unknown", of_dtype("Q4", 1), "has the dtype 'Q4', which this project does not know"),
    ("dtype_list", tensor(dtype=[1]), "which this project does not know"),
    ("shape_lies", tensor(shape=[63]), "model.norm.weight does not fill its bytes"),
    ("shape_text", tensor(shape=["64"]), "not a safetensors file"),
    ("shape_true", tensor(shape=[True]), "not a safetensors file"),
    ("shape_negative", tensor(shape=[-64]), "not a safetensors file"),
    ("shape_huge", tensor(shape=[1 << 70]), "does not fill its bytes"),
    ("offsets_text", tensor(data_offsets="ab"), "not a safetensors file"),
    ("overlap", tensor(data_offsets=[0, 128]), "but its header says"),
    ("hole", weights(lambda h: h.pop("model.layers.0.self_attn.q_proj.weight")), "does not fill its bytes"),
    ("names_twice", names_twice, "not a safetensors file"),
    ("cut", text("model.safetensors", struct.pack("<Q", 2) + b"{}" + bytes(4)), "bytes, but its header says"),
    ("longer", weights(lambda header: None, 7), "bytes, but its header says"),
    ("no_tensor", text("model.safetensors", struct.pack("<Q", 2) + b"{}"), "no safetensors weights"),
    ("link_dangling", link("model.safetensors", "/nonexistent"), "cannot be read (No such file or directory)"),
    ("link_to_a_folder", link("model.safetensors", "/tmp"), "cannot be read (Is a directory)"),
    ("index_list", index([]), "index.json: not a JSON object"),
    ("index_without_map", index({}), "no weight_map"),
    ("index_unhashable", index({"weight_map": {"a": ["b"]}}), "names ['b'] as a shard"),
    ("index_up", index({"weight_map": {"a": "../../etc/passwd"}}), "names '../../etc/passwd' as a shard"),
    ("index_absolute", index({"weight_map": {"a": "/x.safetensors"}}), "as a shard"),
    ("index_missing_shard", index({"weight_map": {"a": "b.safetensors"}}), "names the shard b.safetensors, which is"),
    ("index_missing_tensor", index({"weight_map": WHOLE | {"lost": "model.safetensors"}}), "names lost in"),
]


def experiment(experiment_file: Any, model: Path, **sections: Any) -> Path:
    path: Path = experiment_file(model={"kind": "path", "path": str(model)}, **sections)
    return path


def test_model_that_is_whole(experiment_file: Any, model: Path, capfd: Any) -> None:
    assert "to do" in accepted(capfd, experiment(experiment_file, model))


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_model_with_a_fault(experiment_file: Any, model: Path, capfd: Any, change: Change, words: str) -> None:
    change(model)
    told = refusal(capfd, experiment(experiment_file, model))
    assert words in told
    assert told.startswith(("error: model.path: ", "error: serving.max_model_len: "))


def test_weights_that_lie_beside_those_of_the_index_count_once(experiment_file: Any, model: Path, capfd: Any) -> None:
    shard = model / "model-00001-of-00001.safetensors"
    (model / "model.safetensors").rename(shard)
    index({"weight_map": dict.fromkeys(TENSORS, shard.name)})(model)
    alone = accepted(capfd, experiment(experiment_file, model))
    (model / "consolidated.safetensors").write_bytes(shard.read_bytes())
    assert accepted(capfd, experiment(experiment_file, model)) == alone


@pytest.mark.parametrize(
    "scaled",
    [
        {"rope_scaling": {"rope_type": "yarn", "factor": 32.0}},
        {"rope_parameters": {"rope_type": "longrope", "factor": 8.0}},
        {"rope_parameters": {"full_attention": {"rope_type": "yarn"}, "sliding_attention": {"rope_type": "default"}}},
    ],
)
def test_positions_that_are_scaled_are_vllms_to_judge(
    experiment_file: Any, model: Path, capfd: Any, scaled: dict[str, Any]
) -> None:
    config(max_position_embeddings=128, **scaled)(model)
    assert "to do" in accepted(capfd, experiment(experiment_file, model))


def test_layers_for_further_tokens_are_no_mismatch(experiment_file: Any, model: Path, capfd: Any) -> None:
    config(num_hidden_layers=1, num_nextn_predict_layers=1)(model)
    assert "to do" in accepted(capfd, experiment(experiment_file, model))


def test_chat_template_of_a_tokenizer_that_is_a_list(experiment_file: Any, model: Path, capfd: Any) -> None:
    text("tokenizer_config.json", "[]")(model)
    asked = {"tasks": ["everyday_science"], "chat_template": True}
    assert "not a JSON object" in refusal(capfd, experiment(experiment_file, model, accuracy=asked))


def test_model_with_code_of_its_own_that_transformers_has_a_class_for_needs_none(
    experiment_file: Any, model: Path, capfd: Any
) -> None:
    config(auto_map={"AutoModelForCausalLM": "modeling_mine.LlamaForCausalLM"})(model)
    assert "to do" in accepted(capfd, experiment(experiment_file, model))


def test_native_classes_are_those_of_the_installed_transformers() -> None:
    known = library_sources.native_classes("cpu")
    assert known["llama"] == "LlamaForCausalLM"
    assert known["phi3"] == "Phi3ForCausalLM", "whose repositories have an auto_map"
    assert "chatglm" not in known
