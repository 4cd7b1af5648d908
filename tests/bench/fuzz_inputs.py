"""What people write and what runs leave behind, drawn by its structure: the laws of `tests/properties`, for long.

    python tests/bench/fuzz_inputs.py SECONDS [SEED] [LAW ...]

Every law takes its turn with up to a hundred inputs, every turn with a seed of its own. Prints of each kind of escape
(an exception that is no answer, an answer that takes more than 5 s of a core, or one that breaks the law) the smallest
input that hypothesis came to, and law by law how many inputs were tried, and how many of them were taken.
"""

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests/fakes")]

from fsspec.registry import known_implementations  # noqa: E402
from properties import experiments, left_behind, loading, recipes, stored  # noqa: E402
from properties.values import in_yaml  # noqa: E402
from refusals import TookTooLong, in_time  # noqa: E402

SLOW_S, STUCK_S = 5.0, 60.0
"""Of computing, and by the clock."""


class Law(NamedTuple):
    """Inputs, and what holds of each."""

    inputs: st.SearchStrategy[Any]
    holds: Callable[[Any], bool]
    """True where the input was taken for what it looks like."""
    a_turn: int = 100
    """Inputs."""


@contextmanager
def laws() -> Iterator[dict[str, Law]]:
    """Every law by its name, on files in a folder that goes in the end."""
    known_implementations["objects"] = {"class": "objects.ObjectFileSystem"}
    with TemporaryDirectory() as name, left_behind.site(Path(name, "site")) as site:
        file, rows = Path(name, "input.yaml"), Path(name, "rows.jsonl")
        store, objects = Path(name, "store"), Path(name, "objects")
        shipped = st.sampled_from([file.read_bytes() for file in experiments.SHIPPED])

        def load(content: bytes) -> bool:
            return loading.loads_or_says_why(file, content)

        yield {
            "experiments of the types": Law(experiments.whole().map(in_yaml), load),
            "experiments with odd values": Law(experiments.sound_or_odd().map(in_yaml), load),
            "texts": Law(experiments.texts(), load),
            "words behind --set": Law(
                st.tuples(shipped, experiments.overrides()), lambda drawn: loading.loads_or_says_why(file, *drawn)
            ),
            "--set as the file": Law(
                experiments.set_in_place(), lambda drawn: loading.set_equals_the_file(file, *drawn)
            ),
            "recipes": Law(recipes.recipes(), lambda content: loading.recipe_is_checked(file, content)),
            "calibration rows": Law(recipes.rows(), lambda content: loading.texts_are_read(rows, content)),
            "records": Law(stored.record_files(), stored.record_is_read),
            "records as written": Law(stored.records(), stored.written_record_is_read),
            "store in a folder": Law(
                stored.record_files(), lambda content: stored.store_goes_on(store, stored.into(store), content)
            ),
            "store of objects": Law(
                stored.record_files(),
                lambda content: stored.store_goes_on(f"objects://{objects}", stored.into(objects), content),
            ),
            "drafts": Law(stored.signatures(), lambda content: stored.draft_is_judged(Path(name, "drafts"), content)),
            "an experiment's folder": Law(site.files(), lambda drawn: site.commands_go_on(*drawn), a_turn=20),
        }


def turn(law: Law, with_seed: int, counts: Counter[str]) -> list[BaseException]:
    """Some inputs of a law; what escaped, each kind once, raised by its smallest input."""

    @seed(with_seed)
    @settings(
        max_examples=law.a_turn,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(law.inputs)
    def every(drawn: Any) -> None:
        counts["tried"] += 1
        began = time.thread_time()
        try:
            with in_time(STUCK_S):
                counts["taken"] += law.holds(drawn)
        except TookTooLong:
            raise AssertionError("no answer") from None
        assert time.thread_time() - began < SLOW_S, "a late answer"

    try:
        every()
    except BaseExceptionGroup as group:
        return list(group.exceptions)
    except Exception as escape:
        return [escape]
    return []


def main() -> int:
    seconds, first = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    turns, escapes = 0, set()
    os.environ.setdefault("MSF_ACCELERATOR", "cpu")
    with laws() as by_name:
        counts = {name: Counter[str]() for name in sys.argv[3:] or by_name}
        began = time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            name = list(counts)[turns % len(counts)]
            for escape in turn(by_name[name], first + turns, counts[name]):
                *_, last = traceback.extract_tb(escape.__traceback__)
                kind = f"{name}: {type(escape).__name__} in {last.name}, line {last.lineno}"
                if kind not in escapes:
                    escapes.add(kind)
                    print(f"{kind}: {escape!s:.300}", *getattr(escape, "__notes__", ()), sep="\n    ", flush=True)
            turns += 1
    for name, counted in counts.items():
        print(f"{counted['tried']:>9,} tried {counted['taken']:>9,} taken  {name}")
    times, seeds = f"{took:.0f} s, {time.process_time():.0f} of them on a core", f"seeds {first} to {first + turns - 1}"
    print(f"{times}; {seeds}: {len(escapes)} kinds of escape")
    return bool(escapes)


if __name__ == "__main__":
    sys.exit(main())
