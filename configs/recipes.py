"""What a recipe file may hold: llm-compressor's modifiers by an allow-list, with values that are data.

llm-compressor takes any key that it knows by name, evaluates `calc(...)` in a pruning schedule as Python, and passes
over what is no stage. A file comes from people, so it is checked against what is listed here, of llm-compressor 0.14.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any

from configs.base import unknown_key
from configs.scheme_base import Recipe
from configs.yaml_files import Malformed

_EVERY = ("start", "end", "update", "index", "group")
_TARGETED = ("targets", "ignore")
_QUANTIZING = (
    *_TARGETED,
    "scheme",
    "config_groups",
    "kv_cache_scheme",
    "bypass_divisibility_checks",
    "observer",
    "weight_observer",
    "input_observer",
    "output_observer",
)
_SMOOTHING = ("mappings", "ignore", "smoothing_strength", "num_calibration_steps", "algorithm")
_ROTATING = ("rotations", "transform_type", "transform_block_size", "randomize", "learnable", "precision")
_SPARSE = (*_TARGETED, "sparsity", "sparsity_profile", "mask_structure", "owl_m", "owl_lmbda", "sequential_update")
MODIFIERS: dict[str, tuple[str, ...]] = {
    "QuantizationModifier": _QUANTIZING,
    "GPTQModifier": (*_QUANTIZING, "actorder", "block_size", "dampening_frac", "batched_quantization"),
    "AutoRoundModifier": (*_QUANTIZING, "iters", "lr", "batch_size", "disable_opt_rtn", "enable_torch_compile"),
    "AWQModifier": ("mappings", "duo_scaling", "n_grid", "offload_device"),
    "SmoothQuantModifier": _SMOOTHING,
    "LogarithmicEqualizationModifier": _SMOOTHING,
    "QuIPModifier": (*_TARGETED, *_ROTATING),
    "SpinQuantModifier": ("mappings", "norm_mappings", *_ROTATING),
    "SparseGPTModifier": (*_SPARSE, "block_size", "dampening_frac", "offload_hessians", "preserve_sparsity_mask"),
    "WandaPruningModifier": _SPARSE,
    "MagnitudePruningModifier": (
        "targets",
        "init_sparsity",
        "final_sparsity",
        "mask_structure",
        "leave_enabled",
        "apply_globally",
    ),
    "ConstantPruningModifier": ("targets",),
}
"""Fields of every modifier, without those that hold code, expressions or paths."""


def checked(recipe: Any) -> Recipe:
    """The recipe, if all of it may be used.

    Raises:
        Malformed: it is none, or holds what is not listed.
    """
    if not isinstance(recipe, dict) or not recipe:
        raise Malformed("contains no recipe; a recipe is a mapping of stages")
    for stage, groups in recipe.items():
        if not str(stage).endswith("_stage") or not isinstance(groups, dict):
            raise Malformed(
                f"{stage!r:.60} is not a stage; a recipe is NAME_stage: {{NAME_modifiers: {{MODIFIER: ...}}}}"
            )
        for group, modifiers in groups.items():
            if not str(group).endswith("_modifiers") or not isinstance(modifiers, dict):
                raise Malformed(
                    f"{group!r:.60} in {stage} is not a group; name it NAME_modifiers, with a mapping below it"
                )
            for name, settings in modifiers.items():
                _check_modifier(str(name), settings)
    if not any(modifiers for groups in recipe.values() for modifiers in groups.values()):
        raise Malformed("contains no modifier; give one, such as QuantizationModifier")
    return recipe


def _check_modifier(name: str, settings: Any) -> None:
    if name not in MODIFIERS:
        raise Malformed(f"the modifier {name!r:.60} is not allowed; allowed: {', '.join(sorted(MODIFIERS))}")
    if not isinstance(settings, dict):
        raise Malformed(f"{name} contains {settings!r:.40}; give a mapping of its settings")
    for key in settings:
        if key not in (valid := (*MODIFIERS[name], *_EVERY)):
            raise Malformed(f"{name}.{key!s:.60}: {unknown_key(str(key), sorted(valid))}")
    for leaf in _leaves(settings):
        if not (leaf is None or isinstance(leaf, str | int | float)) or (
            isinstance(leaf, float) and not isfinite(leaf)
        ):
            raise Malformed(f"{name} holds {leaf!s:.40}, which no record can hold; write a finite number, or quote it")
        text = leaf if isinstance(leaf, str) else ""
        if "calc(" in text or "eval(" in text or "{{" in text:
            raise Malformed(f"{name} contains an expression, {text!r:.60}, which is never evaluated; write its value")


def _leaves(value: Any) -> Iterator[Any]:
    """Everything in a value that is neither a mapping nor a list, keys included."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(key)
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
