"""What the installed vLLM knows, read from its sources without importing it."""

import ast
from functools import cache
from pathlib import Path

from actors import environments

_GENERATING = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
_ARGUMENTS = ("EngineArgs", "AsyncEngineArgs")


@cache
def generating_architectures(accelerator: str) -> frozenset[str]:
    """Architectures that it generates text with, by the names of config.json; none where it is not installed here."""
    found: set[str] = set()
    for node in _sources(accelerator, "model_executor/models/registry.py"):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id in _GENERATING:
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            found |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return frozenset(found)


@cache
def engine_arguments(accelerator: str) -> tuple[str, ...]:
    """Names of the arguments of its engine; none where it is not installed here."""
    found: list[str] = []
    for node in _sources(accelerator, "engine/arg_utils.py"):
        if isinstance(node, ast.ClassDef) and node.name in _ARGUMENTS:
            fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
            found += [field.id for field in fields if isinstance(field, ast.Name) and not field.id.startswith("_")]
    return tuple(found)


def _sources(accelerator: str, file: str) -> list[ast.stmt]:
    folder: Path = environments.environment("inference", accelerator).folder
    place = next(folder.glob(f"lib/python*/site-packages/vllm/{file}"), None)
    return ast.parse(place.read_text()).body if place else []
