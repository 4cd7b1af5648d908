"""Optuna, through Ray Tune, where a space is searched and not measured in full."""

import itertools
from dataclasses import dataclass
from functools import partial

from ray.tune.search.optuna import OptunaSearch

from configs.sweep import Sweep
from configs.variants import Variant
from flows.analysis import compare
from flows.runtime import search_state
from flows.runtime.context import Run
from flows.sweep import optuna_space


@dataclass(frozen=True)
class _Suggestion:
    """A variant that was suggested: Tune's trial, Optuna's, and the variant."""

    trial: str
    question: str
    variant: str


class Search:
    """Optuna, through Tune: each variant is chosen by what the earlier ones brought.

    One is chosen when the results of all but the last few before it are known, and Optuna gets them in the order
    of its suggestions. So the same seed and the same results bring the same variants, whoever was faster; on a run
    that goes on, those with records are answered at once.

    Optuna gets one score, though it takes several objectives: accuracy is a limit here and not to be traded for speed.
    Among several objectives no other beats the fastest variant, however much it loses, so that a search would go on
    around it.
    """

    _MOST_REPEATS = 100
    """After so many suggestions in a row that were there before, the space counts as exhausted."""

    def __init__(self, run: Run, sweep: Sweep, lag: int) -> None:
        self._run, self._space, self._left, self._lag = run, sweep, sweep.samples or 0, lag
        self._optuna = OptunaSearch(space=partial(optuna_space.ask, sweep), metric="score", mode="max", seed=sweep.seed)
        self._candidates = run.plan.experiment.candidates
        self._known = {self._candidates.identity(variant) for variant in (None, *self._candidates.known)}
        self._questions = itertools.count()
        self._open: list[_Suggestion] = []
        """Those whose result Optuna does not have yet, in their order."""
        self._over: set[str] = set()
        """Trials that have ended."""

    @property
    def ended(self) -> bool:
        return self._left == 0

    def may_ask(self, *, listed_over: bool) -> bool:
        """Whether enough is known for the next.

        Args:
            listed_over: whether the baseline, and all that is not searched for, has been measured.
        """
        due = self._open[: max(0, len(self._open) + 1 - self._lag)]
        return not due or (listed_over and all(suggestion.trial in self._over for suggestion in due))

    def suggest(self, trial_id: str) -> Variant | None:
        """The next variant, one of the run from now on; None where the search has come to its end."""
        while len(self._open) >= self._lag:
            suggestion = self._open.pop(0)
            self._run.look_again()
            score = compare.score(self._run.evidence, suggestion.variant)
            self._optuna.on_trial_complete(suggestion.question, None if score is None else {"score": score})
        variant = self._new(trial_id)
        self._left = 0 if variant is None else self._left - 1
        search_state.keep(self._run.plan, self._run.store, ended=self.ended)
        return variant

    def on_trial_complete(self, trial_id: str) -> None:
        """What came of it stands in the records."""
        self._over.add(trial_id)

    def _new(self, trial_id: str) -> Variant | None:
        """What Optuna suggests, when it is not among what there was before; that is no trial of its own."""
        for _ in range(self._MOST_REPEATS):
            question = str(next(self._questions))
            variant = optuna_space.variant(self._space, self._optuna.suggest(question) or {})
            identity = self._candidates.identity(variant)
            if identity not in self._known:
                self._known.add(identity)
                self._open.append(_Suggestion(trial_id, question, variant.name))
                self._run.add(variant)
                return variant
            self._optuna.on_trial_complete(question, error=True)
        return None
