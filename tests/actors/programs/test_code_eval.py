"""Programs of a model's: which pass, and what of them counts."""

import contextlib
import os
import time
from pathlib import Path

import psutil
import pytest

from actors.programs.code_eval import CodeEval, pass_at

TEST = "assert add(2, 3) == 5"
RIGHT = "def add(a, b): return a + b"


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    monkeypatch.setenv("HF_TOKEN", "canary")


@pytest.mark.parametrize(
    ("program", "passes"),
    [
        (RIGHT, True),
        ("def add(a, b): return a * b", False),
        ("def add(a, b) return", False),
        ("import sys; sys.exit(0)", False),
        (f"{RIGHT}\nimport os; assert 'HF_TOKEN' not in os.environ", True),
        (f"{RIGHT}\nimport os; assert os.path.expanduser('~') == os.getcwd()", True),
    ],
)
def test_program_passes_where_it_comes_to_its_end(program: str, passes: bool) -> None:
    rates, each = CodeEval().compute(references=[TEST], predictions=[[program]], k=[1])
    assert (rates, each) == ({"pass@1": float(passes)}, [[passes]])


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


@pytest.mark.parametrize("endless", ["while True: pass", "import time; time.sleep(600)"])
def test_program_that_does_not_end_fails_and_ends_with_what_it_started(tmp_path: Path, endless: str) -> None:
    mark = tmp_path / "id"
    child = f"import subprocess; p = subprocess.Popen(['sleep', '600']); open({str(mark)!r}, 'w').write(str(p.pid))"
    _, each = CodeEval().compute([""], [[f"{child}\n{endless}"]], k=[1], timeout=0.5, waiting=10)
    assert each == [[False]]
    deadline = time.monotonic() + 60
    while (alive := is_alive(int(mark.read_text()))) and time.monotonic() < deadline:
        time.sleep(0.05)  # it was killed, which takes the kernel a moment
    assert not alive


def test_rate_of_several_programs_is_the_unbiased_one() -> None:
    wrong = "def add(a, b): return 0"
    rates, _ = CodeEval().compute([TEST, TEST], [[RIGHT, wrong], [wrong, wrong]], k=[1, 2, 3])
    assert rates == {"pass@1": 0.25, "pass@2": 0.5}, "of three there are too few"
    assert pass_at(2, 4, 1) == pytest.approx(1 - (3 / 4) * (2 / 3))


def test_nothing_runs_without_leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL")
    with pytest.raises(ValueError, match="HF_ALLOW_CODE_EVAL is not 1"):
        CodeEval().compute([""], [[f"open({str(tmp_path / 'ran')!r}, 'w')"]])
    assert os.listdir(tmp_path) == []
