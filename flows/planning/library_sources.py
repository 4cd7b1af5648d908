"""What the installed vLLM and transformers know, read from their sources without importing them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from actors import environments

_GENERATING = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
_NATIVE = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
_ARGUMENTS = ("EngineArgs", "AsyncEngineArgs")


@cache
def generating_architectures(accelerator: str) -> frozenset[str]:
    """Architectures that it generates text with, by the names of config.json; none where it is not installed here."""
    architectures: set[str] = set()
    for value in _assigned("inference", accelerator, "vllm/model_executor/models/registry.py", _GENERATING):
        keys = value.keys if isinstance(value, ast.Dict) else []
        architectures |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return frozenset(architectures)


@cache
def engine_arguments(accelerator: str) -> tuple[str, ...]:
    """Names of the arguments of its engine; none where it is not installed here."""
    names: list[str] = []
    for node in _sources("inference", accelerator, "vllm/engine/arg_utils.py"):
        if isinstance(node, ast.ClassDef) and node.name in _ARGUMENTS:
            fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
            names += [field.id for field in fields if isinstance(field, ast.Name) and not field.id.startswith("_")]
    return tuple(names)


@cache
def native_classes(accelerator: str) -> dict[str, str]:
    """The class with which transformers itself loads a text generating model, by the `model_type` of config.json; none
    where it is not installed here."""
    for value in _assigned("quantize", accelerator, "transformers/models/auto/modeling_auto.py", (_NATIVE,)):
        pairs = [part.elts for part in ast.walk(value) if isinstance(part, ast.Tuple) and len(part.elts) == 2]
        names = [[element.value for element in pair if isinstance(element, ast.Constant)] for pair in pairs]
        return {str(pair[0]): str(pair[1]) for pair in names if len(pair) == 2}
    return {}


def _assigned(role: str, accelerator: str, file: str, names: tuple[str, ...]) -> Iterator[ast.expr]:
    """What a module assigns to some of its names."""
    for node in _sources(role, accelerator, file):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names:
            yield node.value


def _sources(role: str, accelerator: str, file: str) -> list[ast.stmt]:
    folder: Path = environments.environment(role, accelerator).folder
    path = next(folder.glob(f"lib/python*/site-packages/{file}"), None)
    return ast.parse(path.read_text()).body if path else []
