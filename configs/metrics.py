"""How documents make lm-eval's metrics: what the evaluating actor writes, and what the comparison reads.

Of lm-eval 0.4.13 (`lm_eval/api/metrics.py`): a metric is an aggregation of values of documents. Here are those that can
be judged, by name. Whoever is not listed cannot: what one document means for such a metric is not known.
"""

from typing import Literal

Kind = Literal[
    "mean", "items", "perplexity", "bits_per_byte", "f1", "weighted_f1", "mcc", "bleu", "chrf", "chrf++", "ter"
]
"""What a document's value is: of a `mean` a number; of `items` a list of numbers, all of one weight (the instructions
of ifeval); of a perplexity (`bits_per_byte` is its logarithm) log-likelihood and weight; of `f1`, `weighted_f1` and
`mcc` the right class and the answered one; of the last four the counts of sacrebleu, whose sums make the metric."""

AGGREGATIONS: dict[str, Kind] = {
    "mean": "mean",
    "nanmean": "mean",
    "brier_score": "mean",
    "!agg_inst_level_acc": "items",
    "weighted_perplexity": "perplexity",
    "perplexity": "perplexity",
    "bits_per_byte": "bits_per_byte",
    "f1": "f1",
    "!weighted_f1_score": "weighted_f1",
    "matthews_corrcoef": "mcc",
    "bleu": "bleu",
    "chrf": "chrf",
    "chrf++": "chrf++",
    "ter": "ter",
}
"""By the aggregation's name; those with a `!` are functions beside task files, the same wherever one has that name."""

OF_METRICS = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"), "mean"),
    **dict.fromkeys(("word_perplexity", "byte_perplexity"), "weighted_perplexity"),
    **{name: name for name in ("perplexity", "bits_per_byte", "brier_score", "f1", "bleu", "chrf", "chrf++", "ter")},
    "mcc": "matthews_corrcoef",
}
"""The aggregation of a metric whose task names none."""

OF_OUTPUTS = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""The metrics of a task that names none, by its `output_type`."""

NO_NUMBERS = frozenset({"likelihood", "acc_all", "bypass"})
"""Metrics whose documents have no number though lm-eval registers a mean for them."""

PERPLEXITIES = frozenset({"perplexity", "bits_per_byte"})
CLASSES = frozenset({"f1", "weighted_f1", "mcc"})
OF_SUMS = frozenset({"bleu", "chrf", "chrf++", "ter"})
"""Metrics that go to 100."""


GO_TO = {"brier_score": 2.0}
"""What one document's value of a `mean` goes to, where that is neither 1 nor 100."""


def kind_of(metric: str, aggregation: str) -> Kind | None:
    """How a metric is judged; None where it cannot be."""
    return None if metric in NO_NUMBERS else AGGREGATIONS.get(aggregation)
