"""The live table: the kind of an event says who is finished, never its words."""

import io

from rich.console import Console

from flows.reporting.live import Board
from flows.runtime.progress import Progress


def shown(board: Board) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(board.shown())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_variant_is_finished_by_the_kind_of_its_last_event() -> None:
    lines = io.StringIO()
    board = Board(["base", "a", "b", "c"], Progress(lines))
    board.say("logs", "somewhere")
    board.say("a", "measured in full, one might think ...")
    board.say("base", "all of it is there", "measured")
    board.say("b", "no kernel", "failed")
    assert "measured in full, one might think" in shown(board)
    assert "2 of 4 finished, 1 under way, 1 waiting, about" in shown(board)
    board.say("a", "beaten", "stopped")
    assert "3 of 4 finished, 0 under way, 1 waiting" in shown(board)
    assert len(lines.getvalue().splitlines()) == 5
