"""Programs that a model wrote, each run in a process of its own, and how often they pass.

It is the `code_eval` of lm-eval's tasks. They ask the `evaluate` library for it, which fetches it from the hub, as
Python, and runs what models wrote in forks of the evaluating process, with its memory. Here nothing is fetched, and a
program is started anew: with its own folder for a home, and with nothing in its environment but where programs are.
Standard library only.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

_AT_ONCE = 4
_SECONDS = 3.0
"""For a program, as the original has it; here of a core, so that a busy machine makes no program wrong."""
_STARTING_S = 2.0
"""Of a core, for its interpreter."""
_WAITING_S = 60.0
"""Until one that computes nothing is given up."""
_PASSED = 42
"""The status of one that came to its end; one that leaves early, by `sys.exit(0)` for example, does not pass."""
_RUN = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, 2 * (int(sys.argv[1]),))
exec(compile(open("program.py").read(), "program.py", "exec"), {{}})
os._exit({_PASSED})
"""
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR")


class CodeEval:
    """Stands in for `evaluate.load("code_eval")`."""

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        timeout: float = _SECONDS,
        waiting: float = _WAITING_S,
        **_: Any,
    ) -> tuple[dict[str, float], list[list[bool]]]:
        """How often programs pass.

        Args:
            references: for each question, the tests that are run behind a program.
            predictions: for each question, the programs.
            k: of pass@k.
            timeout: seconds of a core for a program.
            waiting: seconds until one is given up that does not use them.

        Returns:
            pass@k over the questions, for each k of which there are as many programs; and for each program whether it
            passed.

        Raises:
            ValueError: HF_ALLOW_CODE_EVAL is not 1.
        """
        if os.environ.get("HF_ALLOW_CODE_EVAL") != "1":
            raise ValueError("HF_ALLOW_CODE_EVAL is not 1: code written by a model does not run here")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            passed = [
                list(pool.map(_passes, [f"{one}\n{tests}" for one in programs], repeat(timeout), repeat(waiting)))
                for programs, tests in zip(predictions, references, strict=True)
            ]
        ks = [n for n in k if all(len(each) >= n for each in passed)]
        return {f"pass@{n}": _mean([pass_at(n, len(one), sum(one)) for one in passed]) for n in ks}, passed


def pass_at(k: int, programs: int, passed: int) -> float:
    """The chance that one of `k` programs passes, drawn from those that there are: the unbiased estimator of Chen et
    al. 2021 (arXiv 2107.03374, equation 1)."""
    return 1 - math.comb(programs - passed, k) / math.comb(programs, k)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _passes(program: str, seconds: float, waiting: float) -> bool:
    """Whether a program comes to its end in time; what it started ends with it."""
    with tempfile.TemporaryDirectory(prefix="program-") as name:
        Path(name, "program.py").write_text(program)
        known = {kept: os.environ[kept] for kept in _KEPT if kept in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _RUN, str(math.ceil(seconds + _STARTING_S))],
            cwd=name,
            env={**known, "HOME": name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(waiting) == _PASSED
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
