"""What is data runs no code in the real libraries: templates of tasks, and packages without a wheel."""

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from actors import environments
from configs.base import REPOSITORY

SETUP = "open({mark!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='evil', version='1.0')\n"


def told_by(role: str, code: str, **variables: str) -> str:
    """What some Python prints in an environment."""
    done = subprocess.run(
        [str(environments.interpreter(role, "cpu")), "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__ }}", "{{ ''['_' ~ '_class_' ~ '_'] }}", "{{ q|attr('__init__') }}"]
)
def test_template_of_a_task_does_not_reach_beyond_its_document(template: str) -> None:
    code = f"""
from actors.engines import lm_eval
from jinja2.exceptions import SecurityError
from lm_eval import utils
print(utils.apply_template("{{{{ q | regex_replace('a', 'b') }}}}", {{"q": "aa"}}))
try:
    print("reached", utils.apply_template({template!r}, {{"q": "aa"}}))
except SecurityError as error:
    print("refused")
"""
    assert told_by("inference", code).split() == ["bb", "refused"]


def test_package_without_a_wheel_is_not_built(tmp_path: Path) -> None:
    mark, folder = tmp_path / "built", tmp_path / "index"
    folder.mkdir()
    with tarfile.open(folder / "evil-1.0.tar.gz", "w:gz") as archive:
        for name, text in (
            ("setup.py", SETUP.format(mark=str(mark))),
            ("PKG-INFO", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"),
        ):
            about = tarfile.TarInfo(f"evil-1.0/{name}")
            about.size = len(text)
            archive.addfile(about, BytesIO(text.encode()))
    code = f"""
from pathlib import Path
from actors.engines import huggingface
try:
    huggingface._fetched_wheel("evil==1.0", Path({str(tmp_path / "scratch")!r}))
except RuntimeError as error:
    print(error)
"""
    told = told_by("quantize", code, PIP_FIND_LINKS=str(folder), PIP_NO_INDEX="1")
    assert "evil==1.0 could not be fetched from the package index" in told
    assert not mark.exists()
