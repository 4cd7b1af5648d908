"""What is data runs no code in the real libraries: templates of tasks, and packages without a wheel."""

import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from real_support import told_by

SETUP = "open({mark!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='evil', version='1.0')\n"


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


NATIVE_WITH_CODE = """
import json
from pathlib import Path
from actors.engines import huggingface
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

folder = Path({folder!r})
shape = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=8)
LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder)
PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({{"a": 0}}, "a"))).save_pretrained(folder)
(folder / "evil.py").write_text("open({mark!r}, 'w').close()")
config = json.loads((folder / "config.json").read_text())
for model_type in ("llama", "mine"):
    asked = {{"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.LlamaForCausalLM"}}
    (folder / "config.json").write_text(json.dumps(config | {{"auto_map": asked, "model_type": model_type}}))
    try:
        print(type(huggingface.load(folder, "float32")[0]).__module__.split(".")[0])
    except ValueError as error:
        print("refused")
"""


def test_code_of_a_model_is_not_run_whether_or_not_transformers_knows_the_model(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = NATIVE_WITH_CODE.format(folder=str(tmp_path / "model"), mark=str(mark))
    assert told_by("quantize", code).split() == ["transformers", "refused"]
    served = f"""
from vllm.transformers_utils.config import get_config
for known in (True, False):
    import json, pathlib
    file = pathlib.Path({str(tmp_path / "model" / "config.json")!r})
    file.write_text(json.dumps(json.loads(file.read_text()) | {{"model_type": "llama" if known else "mine"}}))
    try:
        print(type(get_config(str(file.parent), trust_remote_code=False)).__module__.split(".")[0])
    except (ValueError, RuntimeError) as error:
        print("refused")
"""
    told = told_by("inference", served).splitlines()
    assert [line for line in told if line in ("transformers", "refused")] == ["transformers", "refused"]
    assert not mark.exists()
