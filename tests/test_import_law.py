"""Imports point one way: configs <- actors <- flows; a heavy library is imported by its engine alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "vllm", "llmcompressor", "transformers", "lm_eval", "guidellm", "compressed_tensors"}
ENGINES = {
    "huggingface.py": {"torch", "transformers"},
    "llmcompressor.py": {"torch", "llmcompressor", "compressed_tensors"},
    "lm_eval.py": {"lm_eval"},
    "lm_eval_models.py": {"lm_eval"},
    "guidellm.py": {"guidellm"},
    "ray_serve.py": set(),
}
MODULES = sorted(p for layer in ("configs", "actors", "flows") for p in (ROOT / layer).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in the file the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_point_one_way(file: Path) -> None:
    layer = file.relative_to(ROOT).parts[0]
    above = {"configs": ("actors", "flows"), "actors": ("flows",), "flows": ()}[layer]
    assert not [name for name in imported(file) if name.split(".")[0] in above]


@pytest.mark.parametrize("file", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_only_its_own_heavy_library(file: Path) -> None:
    allowed = ENGINES[file.name] if file.parent.name == "engines" and file.name in ENGINES else set()
    assert {name.split(".")[0] for name in imported(file)} & HEAVY <= allowed


@pytest.mark.parametrize(
    ("library", "owner"),
    [("mlflow", "flows/tracking"), ("ray.tune", "flows/sweep"), ("argparse", "flows/cli.py")],
)
def test_library_has_one_owner_in_flows(library: str, owner: str) -> None:
    users = {
        str(file.relative_to(ROOT))
        for file in MODULES
        if file.relative_to(ROOT).parts[0] == "flows"
        and any(name == library or name.startswith(library + ".") for name in imported(file))
    }
    assert all(f"{user}/".startswith((f"{owner}/", f"{owner}.py/")) for user in users)


def test_engines_are_imported_lazily_by_actors() -> None:
    for file in (ROOT / "actors").glob("*.py"):
        top = ast.parse(file.read_text()).body
        names = {n for node in top if isinstance(node, ast.ImportFrom) for n in [node.module or ""]}
        assert not [name for name in names if name.startswith("actors.engines")], file


def test_driver_imports_no_heavy_library() -> None:
    program = "import sys, flows.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & {name.split(".")[0] for name in loaded.stdout.split()}
