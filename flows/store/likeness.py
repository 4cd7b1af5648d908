"""Whether a checkpoint that somebody else made is a form of the base model, read from JSON alone (no torch)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.store.checkpoints import config, json_object

_ACTIVATIONS = ("input_activations", "output_activations")


def unlike(base: Path, other: Path) -> list[str]:
    """In what two checkpoint folders differ that are to be of one model: what a tokenizer makes of a text, what a
    conversation becomes, and what computes; empty where they do not. How weights are stored does not count.

    Raises:
        Damaged: a file cannot be read.
    """
    return [what for what, read in _READ.items() if read(base) != read(other)]


def in_words(different: Sequence[str]) -> str:
    """What `unlike` says of a checkpoint."""
    return f"differs from the base in its {' and its '.join(different)}"


def refusal(different: Sequence[str], variant: str) -> str:
    """Why such a checkpoint is not compared, and what to do.

    Args:
        variant: the keys that lead to its variant in the experiment.
    """
    return f"{in_words(different)}; set {variant}.another_model: true to compare them all the same"


def quantization(folder: Path) -> dict[str, Any]:
    """What `config.json` says of how weights and activations are quantized; empty where nothing is."""
    settings = config(folder)
    said = settings.get("quantization_config") or settings.get("compression_config")
    return said if isinstance(said, dict) else {}


def rounds_activations(folder: Path) -> bool:
    """Whether a checkpoint says that what goes into its layers is quantized, too: compressed-tensors by a group's
    `input_activations`, others by their `activation_scheme`."""
    said = quantization(folder)
    groups = said.get("config_groups")
    in_groups = groups.values() if isinstance(groups, dict) else ()
    by_group = any(isinstance(group, dict) and any(group.get(name) for name in _ACTIVATIONS) for group in in_groups)
    return by_group or bool(said.get("activation_scheme"))


def _architecture(folder: Path) -> Any:
    settings = config(folder)
    return [settings.get(name) for name in ("architectures", "hidden_size", "num_hidden_layers")]


def _vocabulary(folder: Path) -> Any:
    return config(folder).get("vocab_size")


def _tokenizer(folder: Path) -> Any:
    """Of `tokenizer.json` what decides which tokens a text becomes; how it is written down differs with its version."""
    if not (folder / "tokenizer.json").is_file():
        return None
    said = json_object(folder / "tokenizer.json")
    model = said.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    added = said.get("added_tokens")
    named = [(token.get("id"), token.get("content")) for token in added or () if isinstance(token, dict)]
    return words, sorted(named, key=str)


def _chat_template(folder: Path) -> Any:
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if file.is_file():
        return file.read_text(errors="replace").strip()
    said = json_object(settings).get("chat_template") if settings.is_file() else None
    return said.strip() if isinstance(said, str) else said


_READ: dict[str, Callable[[Path], Any]] = {
    "architecture": _architecture,
    "vocabulary": _vocabulary,
    "tokenizer": _tokenizer,
    "chat template": _chat_template,
}
