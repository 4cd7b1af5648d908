"""How far a served variant may be from what transformers says of its checkpoint. Pure functions."""

from actors.artifacts import ReferenceGap
from flows.planning.variant_plan import VariantPlan

_BASE_LIMIT = 0.12
"""Nats a token, on average; a scheme has its own. Of a sound bfloat16 engine (135M) 0.063 were measured with AVX-512
and 0.092 with AMX; activations rounded to 8 bits are 0.16 and more."""
_WORST_GAP_PER_LIMIT = 8
"""At a single token, the served model's best may beat the reference's greedy choice by this many
times the mean limit: near ties flip, and one token varies more than the mean of all."""


_ROUNDED_LIMIT = 0.35
"""The same where activations or the KV cache are rounded to 8 bits by a checkpoint or a setting that no scheme of ours
describes; that of INT8 and FP8 schemes."""


def limit(variant: VariantPlan, *, rounds_activations: bool) -> float:
    """The mean difference of token log-probabilities that a variant may have, in nats.

    Args:
        rounds_activations: whether its checkpoint says so (`flows.store.likeness`).
    """
    own = variant.scheme.logprob_limit if variant.scheme else _BASE_LIMIT
    rounded = variant.scheme is None and rounds_activations
    return max(own, _ROUNDED_LIMIT) if rounded or variant.serving.kv_cache_dtype != "auto" else own


def wrong(gap: ReferenceGap, limit: float) -> str | None:
    """Why a served variant is not what its reference is; None where it is."""
    mean, greedy, decoding = gap.mean_logprob_difference, gap.worst_greedy_gap, gap.worst_decoding_gap
    worst = _WORST_GAP_PER_LIMIT * limit
    if mean <= limit and max(greedy, decoding) <= worst:
        return None
    example = gap.answers[0]
    return (
        f"served wrongly: token log-probabilities differ from the reference by {mean:.3f} nats on average "
        f"(limit {limit:.2f}), {greedy:.2f} at the worst greedy token, and decoding differs from its own prefill "
        f"by {decoding:.2f} (limit of both {worst:.2f}); "
        f"it answered {example.served!r} instead of {example.reference!r}"
    )
