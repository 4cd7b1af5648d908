"""How a wrong input is tried: by the command line itself, against the clock, and for what it printed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from flows.cli import BAD_INPUT, DONE, main

SECONDS = 10
LONGEST = 1100


class TookTooLong(BaseException):
    """Of no kind that anything catches."""


@contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    """The block ends within the time in which a person has an answer."""

    def late(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refusal(capfd: Any, experiment: Path, *overrides: str) -> str:
    """The one line with which a plan is refused."""
    code, out, err = _planned(capfd, experiment, *overrides)
    assert code == BAD_INPUT, f"exit code {code}: {out[-300:]}{err[-300:]}"
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) < LONGEST
    assert all(character.isprintable() for character in err.rstrip("\n"))
    return err


def accepted(capfd: Any, experiment: Path, *overrides: str) -> str:
    """What is shown of a plan that can work."""
    code, out, err = _planned(capfd, experiment, *overrides)
    assert code == DONE, err
    return out


def _planned(capfd: Any, experiment: Path, *overrides: str) -> tuple[int, str, str]:
    words = [word for override in overrides for word in ("--set", override)]
    with in_time():
        code = main(["plan", str(experiment), *words])
    out, err = capfd.readouterr()
    return code, out, err


def changed(path: Path, changes: dict[str, Any]) -> Path:
    """An experiment file with other values at dotted places; a value of `...` takes the key away."""
    content = yaml.safe_load(path.read_text())
    for place, value in changes.items():
        *parents, last = place.split(".")
        node = content
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
        key: Any = int(last) if isinstance(node, list) else last
        if value is ...:
            node.pop(key, None)
        else:
            node[key] = deepcopy(value)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
