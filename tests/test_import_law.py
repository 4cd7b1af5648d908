"""Imports point one way: configs <- actors <- flows; a heavy library is imported by its engine alone."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "vllm", "llmcompressor", "transformers", "lm_eval", "guidellm", "compressed_tensors", "pynvml"}
ENGINES = {
    "huggingface.py": {"torch", "transformers"},
    "llmcompressor.py": {"torch", "llmcompressor", "compressed_tensors"},
    "lm_eval.py": {"lm_eval"},
    "lm_eval_models.py": {"lm_eval"},
    "guidellm.py": {"guidellm"},
    "nvml.py": {"pynvml"},
    "ray_serve.py": set(),
}
MODULES = sorted(p for layer in ("configs", "actors", "flows") for p in (ROOT / layer).rglob("*.py"))
MAY_IMPORT: dict[str, dict[str, str]] = {
    "actors": {
        "environments": "",
        "artifacts": "",
        "as_json": "",
        "openai_client": "artifacts",
        "pacing": "",
        "programs": "openai_client",
        "placement": "environments artifacts programs",
        "files": "placement",
        "engines": "pacing artifacts openai_client placement files programs",
        "quantizer": "artifacts engines",
        "evaluator": "artifacts as_json engines placement programs",
        "benchmarker": "artifacts engines placement programs",
        "server": "artifacts engines",
        "serving": "artifacts placement programs server",
    },
    "flows": {
        "interruption": "",
        "named_cluster": "",
        "own_ray": "interruption",
        "cluster": "named_cluster own_ray interruption",
        "store": "",
        "statistics": "",
        "planning": "cluster store statistics",
        "runtime": "cluster store statistics planning",
        "analysis": "store statistics planning runtime",
        "stages": "store statistics planning runtime analysis",
        "sweep": "store statistics planning runtime analysis stages",
        "reporting": "cluster store statistics planning runtime analysis",
        "tracking": "store statistics planning runtime analysis reporting",
        "deploying": "cluster store statistics planning runtime analysis reporting tracking",
        "doctor": "cluster store planning",
        "experiment": "cluster store planning runtime analysis stages sweep reporting tracking",
        "cli": "interruption own_ray cluster store planning runtime analysis reporting tracking deploying doctor "
        "experiment",
        "__main__": "cli",
    },
}
"""For each package, or module beside the packages, what it may import of its own layer; of the layers below, all.
Nobody names what stands under it, so that there is no circle."""


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


@pytest.mark.parametrize("file", sorted((ROOT / "flows/analysis").glob("*.py")), ids=lambda p: p.name)
def test_analysis_knows_no_live_run_and_nothing_that_acts(file: Path) -> None:
    """What it says depends on its arguments alone, and the files of records, which never change."""
    acting = ("ray", "mlflow", "subprocess", "socket", "shutil", "tempfile", "time", "datetime", "random", "os")
    live = ("flows.runtime.context", "flows.store.records.Store", "actors.placement", "actors.serving")
    names = imported(file)
    assert not [name for name in names for other in (*acting, *live) if f"{name}.".startswith(f"{other}.")]
    called = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    assert not called & {"write_text", "write_bytes", "mkdir", "unlink", "rename", "open_run", "remote"}


def test_engines_are_imported_lazily_by_actors() -> None:
    for file in (ROOT / "actors").glob("*.py"):
        top = ast.parse(file.read_text()).body
        names = {n for node in top if isinstance(node, ast.ImportFrom) for n in [node.module or ""]}
        assert not [name for name in names if name.startswith("actors.engines")], file


def test_driver_imports_no_heavy_library() -> None:
    program = "import sys, flows.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & {name.split(".")[0] for name in loaded.stdout.split()}


def rooms(layer: str, names: set[str]) -> set[str]:
    """The packages and modules of a layer that dotted names lead to."""
    found = {parts[1] for name in names if (parts := name.split("."))[0] == layer and len(parts) > 1}
    return found & MAY_IMPORT[layer].keys()


@pytest.mark.parametrize(
    "file",
    [file for file in MODULES if file.relative_to(ROOT).parts[0] in MAY_IMPORT],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_package_imports_only_what_the_table_allows(file: Path) -> None:
    layer, room = file.relative_to(ROOT).with_suffix("").parts[:2]
    allowed = {room, *MAY_IMPORT[layer].get(room, "").split()}
    assert rooms(layer, imported(file)) <= allowed


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_table_lists_the_folder_from_the_ground_up(layer: str) -> None:
    listed = {path.stem for path in (ROOT / layer).glob("*.py")} | {
        init.parent.name for init in (ROOT / layer).glob("*/__init__.py")
    }
    assert set(MAY_IMPORT[layer]) == listed - {"__init__"}
    below: set[str] = set()
    for room, allowed in MAY_IMPORT[layer].items():
        assert set(allowed.split()) <= below, room
        below.add(room)


@pytest.mark.parametrize("package", sorted({file.parent for file in MODULES}), ids=lambda p: str(p.relative_to(ROOT)))
def test_package_has_a_short_readme_that_names_its_files(package: Path) -> None:
    text = (package / "README.md").read_text()
    assert 5 <= len(text.splitlines()) <= 30
    named = {name for name in re.findall(r"`(\w+\.py)`", text)}
    assert named == {file.name for file in package.glob("*.py")} - {"__init__.py"}


@pytest.mark.parametrize(
    "file",
    [file for file in MODULES if file.relative_to(ROOT).parts[0] == "flows"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_flow_imports_no_engine(file: Path) -> None:
    assert "engines" not in rooms("actors", imported(file))
