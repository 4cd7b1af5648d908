"""Which variant Ray Tune begins next."""

from typing import Any

from ray.tune.search import Searcher

from flows.sweep.search import Search


class Feed(Searcher):
    """Gives out the variants: those that are known in their order, then those that a search comes upon, as
    long as there is room for one more."""

    def __init__(self, names: list[str], search: Search | None, room: int) -> None:
        super().__init__()
        self._names, self._search, self._room = list(names), search, room
        self._under_way: set[str] = set()
        self._listed: set[str] = set()
        """Of those, the ones that were not searched for."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Feed":
        """Tune copies what it is given; the scheduler speaks to this one."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps what it is given in a file, too; the records are in the store."""
        return {}

    @property
    def empty(self) -> bool:
        return not self._names and (self._search is None or self._search.ended)

    @property
    def all_rest(self) -> bool:
        """Whether every variant has been through its first rung."""
        return self.empty and not self._under_way

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next variant; None where there is no room now, or too little is known to choose one."""
        if self.empty:
            return Searcher.FINISHED  # type: ignore[return-value]  # as Tune's own searchers do
        if len(self._under_way) >= self._room:
            return None
        found = None
        if self._names:
            name = self._names.pop(0)
            self._listed.add(trial_id)
        elif self._search is None or not self._search.may_ask(listed_over=not self._listed):
            return None
        elif (found := self._search.suggest(trial_id)) is None:
            return Searcher.FINISHED  # type: ignore[return-value]
        else:
            name = found.name
        self._under_way.add(trial_id)
        return {"variant": name, "found": found}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Makes room."""
        self.rests(trial_id)
        self._listed.discard(trial_id)
        if self._search is not None:
            self._search.on_trial_complete(trial_id)

    def rests(self, trial_id: str) -> None:
        """A variant that waits for the others' first rungs makes room for one of them."""
        self._under_way.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """The records are in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """The records are in the store."""
