"""Which packages a task's Python needs that the environment has not: read from its files, without importing any.

A task file names functions of modules beside it, and lm-eval imports those when the task is loaded, with an engine up
already. Some need packages that lm-eval does not come with.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from actors import environments

_FUNCTION = re.compile(r"!function\s+([\w.]+)\.\w+")
_INCLUDE = re.compile(r"""^["']?include["']?:[ \t]*["']?([\w./-]+)["']?\s*$""", re.MULTILINE)


def lacking(files: Sequence[Path], accelerator: str) -> list[str]:
    """Packages that task files need and the environment of lm-eval lacks; none where that is not built.

    Args:
        files: of a task, or of every task of a group.
    """
    if not (modules := _modules(files)):
        return []
    folder = environments.environment("inference", accelerator).folder
    site = next(folder.glob("lib/python*/site-packages"), None)
    if site is None:
        return []
    needed = {name for module in modules for name in _needed(module, site)}
    return sorted(name for name in needed if PathFinder.find_spec(name, [str(site)]) is None)


def _modules(files: Sequence[Path]) -> set[Path]:
    """The Python files whose functions task files name, those that they include too."""
    modules, waiting, visited = set[Path](), list(files), set[Path]()
    while waiting:
        file = waiting.pop()
        if file in visited or not file.is_file():
            continue
        visited.add(file)
        text = file.read_text(errors="ignore")
        modules |= {file.parent / f"{module.replace('.', '/')}.py" for module in _FUNCTION.findall(text)}
        waiting += [(file.parent / name).resolve() for name in _INCLUDE.findall(text)]
    return {module for module in modules if module.is_file()}


@cache
def _needed(first: Path, site: Path) -> frozenset[str]:
    """Top names of all that a module imports when it is loaded, by way of other modules of lm-eval's tasks too."""
    packages, waiting, visited = set[str](), [first], set[Path]()
    while waiting:
        module = waiting.pop()
        if module in visited:
            continue
        visited.add(module)
        for name in _imported(ast.parse(module.read_text()).body):
            top = name.partition(".")[0]
            if beside := _file(module.parent / top):
                waiting.append(beside)
            elif name.startswith("lm_eval.tasks."):
                waiting += filter(None, [_file(site / name.replace(".", "/"))])
            elif top not in sys.stdlib_module_names:
                packages.add(top)
    return frozenset(packages)


def _file(module: Path) -> Path | None:
    paths = (module.with_suffix(".py"), module / "__init__.py")
    return next((path for path in paths if path.is_file()), None)


def _imported(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Dotted names of what must be there: an import whose failure is caught and passed over need not."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Try) and all(_raises(handler) for handler in node.handlers):
            yield from _imported(node.body)


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))
