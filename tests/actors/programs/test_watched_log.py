"""What a log got inside a window is told apart from what it got before and after."""

import time
from pathlib import Path

from actors.programs.watched_log import WatchedLog


def test_between_gives_what_was_written_inside_the_window(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    log = WatchedLog(file)
    moments = []
    with file.open("a") as output:
        for line in ("before", "inside", "after"):
            moments.append(time.time())
            output.write(f"{line}\n")
            output.flush()
            time.sleep(0.5)
    assert log.between(moments[1], moments[2] - 0.2) == "inside\n"
    assert log.between(moments[0], time.time()) == "before\ninside\nafter\n"
    assert log.between(moments[2] + 0.3, time.time()) == ""
