"""The table of environments, its locks, and a build's promises, on locks that ask for nothing."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from actors import environments
from actors.environments import ACCELERATORS, ROLES, ROOT, Environment, faults, pins

pytestmark = pytest.mark.fast

ALL = [Environment(role, kind) for role in ROLES for kind in ACCELERATORS]
SCRIPT = ROOT / "actors" / "environments.py"
HASHED = "{} \\\n    --hash=sha256:" + "0" * 64 + "\n"


def script(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose lock is empty, and a uv that makes one in no time."""
    (tmp_path / "driver-cpu.lock").write_text("# nothing\n")
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\nif [ "$1" = venv ]; then mkdir -p "$4/bin" && ln -s "$3" "$4/bin/python"; fi\n')
    uv.chmod(0o755)
    monkeypatch.setenv("MSF_ENVIRONMENTS", str(tmp_path / "home"))
    monkeypatch.setattr(environments, "LOCKS", tmp_path)
    monkeypatch.setattr(environments, "uv", lambda: str(uv))
    monkeypatch.setattr(environments, "ROLES", {"driver": environments.Role("sys")})
    return Environment("driver", "cpu")


def test_table_actors_each_have_a_role_that_exists() -> None:
    assert set(environments.ACTOR_ROLES.values()) <= set(ROLES)
    assert set(environments.TO_USE) < set(ROLES)


def test_table_extras_are_those_of_pyproject() -> None:
    named = {extra.format(kind) for role in ROLES.values() for extra in role.extras for kind in ACCELERATORS}
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert extras <= named
    assert {extra for role in ROLES.values() for extra in role.extras if "{}" not in extra} <= extras


@pytest.mark.parametrize("wanted", ALL, ids=lambda wanted: wanted.lock.stem)
def test_lock_is_whole_and_fits_its_machine(wanted: Environment) -> None:
    text = wanted.lock.read_text()
    assert faults(wanted, text) == []
    assert text.startswith("# Made by: python3 actors/environments.py lock")
    assert not re.search(r"://|\s/\w|--(?!hash=)", text), "an address, a path or an option"


@pytest.mark.parametrize("wanted", ALL, ids=lambda wanted: wanted.lock.stem)
def test_lock_has_what_pyproject_asks_for(wanted: Environment) -> None:
    asked = environments.asked_for(wanted)
    locked = {normal(name) for name in pins(wanted.lock.read_text())}
    assert {normal(re.split(r"[^\w.-]", line)[0]) for line in asked} <= locked, "run the lock command"


@pytest.mark.parametrize("role", ["quantize", "inference"])
def test_lock_torch_is_the_cpu_build_on_a_cpu_only(role: str) -> None:
    versions = {kind: pins(Environment(role, kind).lock.read_text())["torch"] for kind in ACCELERATORS}
    assert versions["cpu"] == f"{versions['cuda']}+cpu"


@pytest.mark.parametrize("role", ["driver", "develop"])
def test_lock_without_torch_does_not_depend_on_the_accelerator(role: str) -> None:
    assert len({Environment(role, kind).lock.read_text() for kind in ACCELERATORS}) == 1


def test_lock_ray_is_the_same_everywhere() -> None:
    """Ray refuses a worker of another version."""
    assert len({pins(wanted.lock.read_text())["ray"] for wanted in ALL}) == 1


@pytest.mark.parametrize(
    ("role", "kind", "text"),
    [
        ("driver", "cpu", "ray==2.60.0\n"),
        ("driver", "cpu", "ray>=2 \\\n    --hash=sha256:" + "0" * 64),
        ("driver", "cpu", "--index-url https://example.invalid/simple"),
        ("driver", "cpu", HASHED.format("ray @ file:///wheels/ray.whl")),
        ("driver", "cuda", HASHED.format("torch==2.13.0")),
        ("quantize", "cpu", HASHED.format("torch==2.13.0")),
        ("quantize", "cpu", HASHED.format("nvidia-cublas==13.0")),
        ("inference", "cuda", HASHED.format("torch==2.13.0+cpu")),
    ],
)
def test_faults_of_a_bad_lock_are_found(role: str, kind: str, text: str) -> None:
    assert len(faults(Environment(role, kind), text)) == 1


def test_build_then_build_again_does_nothing(nothing: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environments.build(nothing)
    before = nothing.marker.stat().st_mtime_ns
    monkeypatch.setattr(environments, "run", lambda *_, **__: pytest.fail("a command was run"))
    assert environments.build(nothing) == "is already built"
    assert nothing.marker.stat().st_mtime_ns == before
    assert environments.interpreter("driver", "cpu") == nothing.python
    assert json.loads(nothing.marker.read_text())["role"] == "driver"


def test_build_interrupted_is_missing_and_then_repaired(nothing: Environment) -> None:
    half = nothing.folder / "lib" / "half.py"
    half.parent.mkdir(parents=True)
    half.touch()
    with pytest.raises(environments.EnvironmentMissing):
        environments.interpreter("driver", "cpu")
    environments.build(nothing)
    assert nothing.is_built()
    assert not half.exists()


def test_build_twice_at_once_makes_one(nothing: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    really_install = environments.install

    def install(wanted: Environment, packages: dict[str, str], holder: int) -> None:
        made.append(wanted)
        really_install(wanted, packages, holder)

    monkeypatch.setattr(environments, "install", install)
    builders = [threading.Thread(target=environments.build, args=[nothing]) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert made == [nothing]


def test_build_that_fails_says_why_and_leaves_nothing_that_counts(
    nothing: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "ROLES", {"driver": environments.Role("a_module_that_is_not_there")})
    assert environments.make([nothing], environments.build) == 1
    said = capsys.readouterr().err
    assert "error: driver-cpu: python ended with 1" in said
    assert "No module named 'a_module_that_is_not_there'" in said
    assert f"{nothing.folder.name}.log" in said
    assert not nothing.is_built()


def test_folder_follows_the_lock(nothing: Environment) -> None:
    before = nothing.folder
    nothing.lock.write_text("# nothing else\n")
    assert nothing.folder != before


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("cpu", {"PIP_FIND_LINKS": "wheels more"}, {"UV_FIND_LINKS": "wheels,more"}),
        ("cpu", {"PIP_FIND_LINKS": "wheels", "UV_FIND_LINKS": "mine"}, {"UV_FIND_LINKS": "mine"}),
        ("cuda", {"PIP_FIND_LINKS": "wheels"}, {"UV_FIND_LINKS": None}),
        ("cuda", {"PIP_INDEX_URL": "a", "PIP_CERT": "b"}, {"UV_DEFAULT_INDEX": "a", "SSL_CERT_FILE": "b"}),
    ],
)
def test_uv_gets_pip_settings(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    given: dict[str, str],
    expected: dict[str, str | None],
) -> None:
    seen: dict[str, str] = {}
    for name in ("UV_FIND_LINKS", "UV_DEFAULT_INDEX", "SSL_CERT_FILE", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environments, "uv", lambda: "uv")
    monkeypatch.setattr(environments, "run", lambda *_, env, **__: seen.update(env))
    environments.uv_pip(["install"], kind, tmp_path / "log")
    assert {name: seen.get(name) for name in expected} == expected


def test_uv_without_a_cpu_torch_asks_pytorch_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = []

    def run(command: list[str], *_: object, **__: object) -> None:
        commands.append(command)
        if len(commands) == 1:
            raise environments.BuildFailed("there is no version of torch==2.13.0+cpu")

    monkeypatch.setattr(environments, "uv", lambda: "uv")
    monkeypatch.setattr(environments, "run", run)
    environments.uv_pip(["install"], "cpu", tmp_path / "log")
    assert [command[-2:] for command in commands] == [["pip", "install"], ["--torch-backend", "cpu"]]


def test_accelerator_is_what_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSF_ACCELERATOR", "cuda")
    assert environments.accelerator() == "cuda"
    monkeypatch.setenv("MSF_ACCELERATOR", "tpu")
    with pytest.raises(environments.EnvironmentMissing, match="one of cpu, cuda"):
        environments.accelerator()


def test_interpreter_not_built_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSF_ENVIRONMENTS", str(tmp_path))
    with pytest.raises(environments.EnvironmentMissing) as caught:
        environments.interpreter("inference", "cpu")
    assert str(caught.value) == (
        'environment "inference" for cpu is not built: run `python3 actors/environments.py build inference`'
    )


def test_script_unknown_role_is_bad_input_that_lists_the_roles() -> None:
    done = script("build", "trainer")
    assert done.returncode == 2
    assert 'unknown role "trainer": the roles are driver, quantize, inference, develop' in done.stderr


def test_script_list_names_every_environment(tmp_path: Path) -> None:
    done = script("list", MSF_ENVIRONMENTS=str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.count(" missing ") == len(ALL)


def test_script_path_not_built_is_one_line_and_exit_1(tmp_path: Path) -> None:
    done = script("path", "driver", MSF_ENVIRONMENTS=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
