"""Events of a run, in files that others read."""

from pathlib import Path

from flows.runtime.progress import Event, EventFile, latest, relayed


class Taken:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def say(self, who: str, what: str, kind: str = "under way") -> None:
        self.events.append((who, what, kind))


def test_events_are_relayed_with_their_kinds_and_the_last_is_found(tmp_path: Path) -> None:
    EventFile(tmp_path / "a.jsonl").say("a", "of an earlier run")
    with relayed(tmp_path, taken := Taken()):
        EventFile(tmp_path / "a.jsonl").say("a", "evaluating ...")
        EventFile(tmp_path / "b.jsonl").say("b", "no kernel", "failed")
        EventFile(tmp_path / "a.jsonl").say("a", "done", "measured")
    assert sorted(taken.events) == [
        ("a", "done", "measured"),
        ("a", "evaluating ...", "under way"),
        ("b", "no kernel", "failed"),
    ]
    last = latest(tmp_path)
    assert {who: (event.what, event.ends) for who, event in last.items()} == {
        "a": ("done", True),
        "b": ("no kernel", True),
    }


def test_line_that_is_cut_or_of_an_earlier_version_costs_no_other(tmp_path: Path) -> None:
    lines = ['{"at": 1.0, "who": "a", "what": "by a version without kinds"}', '{"at": 2.0, "who": "a", "wh', "[]"]
    lines += ['{"at": 3.0, "who": [], "what": "b"}', '{"at": 1e300, "who": "a", "what": "b"}', "[" * 100_000, "\udc80"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), errors="surrogateescape")
    assert latest(tmp_path) == {"a": Event("a", "by a version without kinds", at=1.0)}
