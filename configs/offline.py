"""Air-gapped use: whether requests may leave this machine, and what is at hand where none may.

The switch is the hub libraries' own, HF_HUB_OFFLINE. Here it covers the package index too.
"""

import os
import re
from pathlib import Path

_TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads it (its constants.py)


def is_set() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE, which huggingface_hub reads instead) forbids such requests."""
    setting = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return setting.upper() in _TRUE


def local_wheel(package: str) -> Path | None:
    """The wheel of a package, given as NAME==VERSION, in one of the folders that PIP_FIND_LINKS names."""
    name, version = package.split("==")
    start = f"{_normal(name)}-{version.lower()}-"
    for address in os.environ.get("PIP_FIND_LINKS", "").split():
        folder = Path(address.removeprefix("file://"))
        for wheel in sorted(folder.glob("*.whl")) if folder.is_dir() else ():
            distribution, _, rest = wheel.name.partition("-")
            if f"{_normal(distribution)}-{rest.lower()}".startswith(start):
                return wheel
    return None


def _normal(name: str) -> str:
    """A distribution's name as all its spellings have it in common (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
