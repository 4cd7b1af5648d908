"""Bad input: one line, exit code 2, no device taken, nothing written but the probe of the store."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests_support import write_model

from actors import environments
from actors.placement import machine
from configs.hardware import Hardware
from flows import cluster
from flows.cli import BAD_INPUT, DONE, main
from flows.planning import disk, stock_tasks, task_packages

pytestmark = pytest.mark.usefixtures("hardware", "built")
CALIBRATED = [{"kind": "int4-w4a16", "group_size": 64}]


@pytest.fixture(autouse=True)
def _stock_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"arc_easy": "task", "hellaswag": "task", "mmlu": "group"}
    monkeypatch.setattr(stock_tasks, "kinds", lambda accelerator: known)
    monkeypatch.setattr(stock_tasks, "data_sets", lambda name, accelerator: {f"hub/{name}"})
    for told in ("definitions", "files"):
        monkeypatch.setattr(stock_tasks, told, lambda name, accelerator: [])


def refused(path: Path, capfd: Any, *overrides: str) -> str:
    """The one line that a plan of this experiment is refused with."""
    arguments = [word for override in overrides for word in ("--set", override)]
    assert main(["plan", str(path), *arguments]) == BAD_INPUT
    err: str = capfd.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def calibration(path: Path, **settings: Any) -> dict[str, Any]:
    return {"source": {"kind": "local", "path": str(path)}, "samples": 4, "sequence_length": 8, **settings}


def test_plan_of_a_sound_experiment_is_shown(experiment_file: Any, capfd: Any) -> None:
    assert main(["plan", str(experiment_file())]) == DONE
    assert "to do" in capfd.readouterr().out


def test_task_that_cannot_be_judged_is_refused_by_its_place(
    experiment_file: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    metric = {"metric": "!pass_at_k", "aggregation": "mean", "k": [1]}
    humaneval = {"task": "arc_easy", "metric_list": [metric], "unsafe_code": True}
    monkeypatch.setattr(stock_tasks, "definitions", lambda name, accelerator: [humaneval])
    path = experiment_file(accuracy={"tasks": ["everyday_science", "arc_easy"]})
    assert "accuracy.tasks.1: 'arc_easy' runs code written by the model" in refused(path, capfd)
    assert main(["plan", str(path), "--set", "accuracy.allow_code=true"]) == DONE


def test_task_that_needs_a_package_that_is_not_there(
    experiment_file: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(task_packages, "lacking", lambda files, accelerator: ["math_verify"])
    told = refused(experiment_file(accuracy={"tasks": ["arc_easy"]}), capfd)
    assert "accuracy.tasks.0: 'arc_easy' imports math_verify, which the evaluation environment does" in told


def test_local_task_is_judged_by_a_metric_that_it_has(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(accuracy={"tasks": [{"name": "everyday_science", "metric": "mcc"}]})
    assert "has no mcc that can be judged; these can be judged: metric: acc, filter: none; metric: acc_norm" in refused(
        path, capfd
    )


def test_model_folder_that_is_missing(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    path = experiment_file(model={"kind": "path", "path": str(tmp_path / "none")})
    assert "is not a folder" in refused(path, capfd)


@pytest.mark.parametrize(
    ("remove", "words"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no safetensors weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_model_folder_that_lacks_a_part(
    experiment_file: Any, tmp_path: Path, capfd: Any, remove: str, words: str
) -> None:
    model = write_model(tmp_path / "model")
    (model / remove).unlink()
    assert words in refused(experiment_file(model={"kind": "path", "path": str(model)}), capfd)


def test_model_weights_cut_short(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    model = write_model(tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "but its header says" in refused(experiment_file(model={"kind": "path", "path": str(model)}), capfd)


def test_index_that_names_a_missing_tensor(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    model = write_model(tmp_path / "model")
    index = {"weight_map": {"lost.weight": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lost.weight" in refused(experiment_file(model={"kind": "path", "path": str(model)}), capfd)


def test_group_size_that_does_not_divide_a_layer(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    model = {"kind": "path", "path": str(write_model(tmp_path / "model", inputs=96))}
    text = tmp_path / "text.txt"
    text.write_text("word " * 100)
    line = refused(experiment_file(model=model, schemes=CALIBRATED, calibration=calibration(text)), capfd)
    assert "schemes.0.group_size: 64 does not divide the 96 inputs" in line
    assert "use one of 32, 16" in line


@pytest.mark.parametrize(
    ("name", "content", "settings", "words"),
    [
        ("text.txt", "", {}, "is empty"),
        ("text.txt", "too short", {}, "need more text than the 9 bytes"),
        ("rows.jsonl", '{"text": "a"}\n', {"packed": False}, "has 1 rows"),
        ("rows.jsonl", '{"words": "a"}\n' * 9, {"packed": False}, "no usable `text` or `messages`"),
    ],
)
def test_calibration_file_that_is_not_enough(
    experiment_file: Any, tmp_path: Path, capfd: Any, name: str, content: str, settings: Any, words: str
) -> None:
    (tmp_path / name).write_text(content)
    path = experiment_file(schemes=CALIBRATED, calibration=calibration(tmp_path / name, **settings))
    assert words in refused(path, capfd)


def test_calibration_file_that_is_not_enough_for_the_scheme_that_asks_for_most(
    experiment_file: Any, tmp_path: Path, capfd: Any
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("word " * 20)
    schemes = [*CALIBRATED, {**CALIBRATED[0], "name": "more", "calibration_samples": 13}]
    asked = {"schemes": schemes, "calibration": calibration(text)}
    assert "calibration_samples of scheme 'more': 13 samples of 8 tokens" in refused(experiment_file(**asked), capfd)
    schemes[1]["calibration_samples"] = 12
    assert main(["plan", str(experiment_file(**asked))]) == DONE


def test_calibration_file_that_is_missing(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    path = experiment_file(schemes=CALIBRATED, calibration=calibration(tmp_path / "none.txt"))
    assert "is not a file" in refused(path, capfd)


def test_chats_for_a_tokenizer_without_a_template(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"messages": [{"role": "user", "content": "hello " * 20}]}) + "\n")
    model = {"kind": "path", "path": str(write_model(tmp_path / "model"))}
    path = experiment_file(model=model, schemes=CALIBRATED, calibration=calibration(chats))
    assert "needs a chat template" in refused(path, capfd)
    path = experiment_file(model=model, accuracy={"tasks": ["everyday_science"], "chat_template": True})
    assert "accuracy.chat_template" in refused(path, capfd)
    task = {"name": "everyday_science", "chat_template": True}
    path = experiment_file(model=model, accuracy={"tasks": [task]})
    assert "accuracy.tasks.0.chat_template: needs a chat template" in refused(path, capfd)


def test_task_that_nobody_knows_gets_the_nearest_names(experiment_file: Any, capfd: Any) -> None:
    assert "nearest names: arc_easy" in refused(experiment_file(accuracy={"tasks": ["arc_esy"]}), capfd)


def test_task_file_that_is_missing(experiment_file: Any, capfd: Any) -> None:
    task = {"name": "arc_easy", "data_files": {"test": "none.jsonl"}}
    assert "none.jsonl is not a file" in refused(experiment_file(accuracy={"tasks": [task]}), capfd)


def test_documents_of_local_files_are_counted(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n" * 7)
    task = {"name": "arc_easy", "data_files": {"test": str(rows)}}
    assert main(["plan", str(experiment_file(accuracy={"tasks": [task]}))]) == DONE
    assert "evaluating (7 documents): assumed" in capfd.readouterr().out


def test_documents_must_be_enough_for_every_slice_of_a_race(experiment_file: Any, capfd: Any) -> None:
    path = experiment_file(accuracy={"tasks": ["everyday_science"]}, racing={"looks": [0.004]})
    assert "holds 400 documents; at least 500 are needed" in refused(path, capfd)


def test_data_files_of_a_group_of_tasks(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    task = {"name": "mmlu", "data_files": {"test": str(rows)}}
    told = refused(experiment_file(accuracy={"tasks": [task]}), capfd)
    assert "accuracy.tasks.0.data_files: 'mmlu' is a group" in told


def test_recipe_file_that_is_missing_or_no_recipe(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    recipe = tmp_path / "recipe.yaml"
    path = experiment_file(schemes=[{"kind": "recipe", "path": str(recipe), "calibrated": False}])
    assert "is not a file" in refused(path, capfd)
    recipe.write_text("- 1")
    assert "contains no recipe" in refused(path, capfd)


def test_scheme_of_a_sweep_is_told_of_where_it_was_asked_for(experiment_file: Any, capfd: Any) -> None:
    space = [{"kind": "fp8-dynamic"}, {"kind": "w8a16", "algorithm": "rtn"}]
    line = refused(experiment_file(schemes=[{"kind": "nvfp4a16"}], sweep={"space": space[:1]}), capfd)
    assert "schemes.0: 'nvfp4a16' cannot be served here" in line
    line = refused(experiment_file(schemes=[], sweep={"space": space}), capfd)
    assert "sweep.space.1: 'w8a16' cannot be served here" in line


def test_what_a_search_may_come_up_with_is_checked_before(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    text = tmp_path / "text.txt"
    text.write_text("word " * 20)
    space = [{"kind": "int4-w4a16", "calibration_samples": {"low": 1, "high": 13}}]
    sweep = {"space": space, "search": "optuna", "samples": 1}
    path = experiment_file(sweep=sweep, calibration=calibration(text))
    assert "calibration_samples of scheme 'int4-w4a16-cal13': 13 samples" in refused(path, capfd)
    sweep["space"] = [{"kind": "recipe", "path": [str(tmp_path / "none.yaml")], "calibrated": False}]
    assert "sweep.space.0.path" in refused(experiment_file(sweep=sweep), capfd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a folder that even it cannot write to")
def test_store_that_is_not_writable(experiment_file: Any, capfd: Any) -> None:
    assert "is not writable" in refused(experiment_file(storage={"root": "/proc/store"}), capfd)


def test_port_that_is_taken_stops_no_run(experiment_file: Any, free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        assert main(["plan", str(experiment_file())]) == DONE


def test_tracking_server_out_of_reach(experiment_file: Any, free_port: int, capfd: Any) -> None:
    path = experiment_file(tracking={"uri": f"http://127.0.0.1:{free_port}"})
    assert "is out of reach" in refused(path, capfd)


def test_memory_that_is_not_there(experiment_file: Any, capfd: Any) -> None:
    assert "GiB of memory" in refused(experiment_file(), capfd, "serving.kv_cache_gib=500")


def test_request_longer_than_the_kv_cache(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    model = write_model(tmp_path / "model")
    shape = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
    (model / "config.json").write_text(json.dumps({"model_type": "fake", **shape}))
    path = experiment_file(model={"kind": "path", "path": str(model)})
    # 2 x 32 layers x 8 heads x 128 numbers of 2 bytes are 128 KiB a token.
    assert main(["plan", str(path), "--set", "serving.max_model_len=8192"]) == DONE
    words = refused(path, capfd, "serving.max_model_len=16384")
    assert "serving.max_model_len: one request of 16384 tokens needs 2.0 GiB of KV cache" in words


def test_more_cores_than_there_are(experiment_file: Any, capfd: Any) -> None:
    assert "serving.cores: 64" in refused(experiment_file(), capfd, "serving.cores=64")


def test_disk_too_small_for_the_plan(
    experiment_file: Any, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"kind": "path", "path": str(write_model(tmp_path / "model"))}
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1})())
    line = refused(experiment_file(model=model), capfd)
    assert line.startswith("error: storage.root: the disk is too small: about 0.3 GB into ")
    assert "0.0 GB free" in line


def test_plan_says_what_it_writes_and_leaves_nothing_behind(experiment_file: Any, tmp_path: Path, capfd: Any) -> None:
    path = experiment_file(model={"kind": "path", "path": str(write_model(tmp_path / "model"))})
    assert main(["plan", str(path)]) == DONE
    assert "disk: about 0.3 GB into" in " ".join(capfd.readouterr().out.split())
    assert not list((tmp_path / "store").iterdir())


def test_cuda_without_a_gpu(experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(environments, "interpreter", lambda role, accelerator=None: Path("python"))
    monkeypatch.setattr(machine, "_nvidia_smi", lambda *_: [])
    assert "nvidia-smi shows no GPU" in refused(experiment_file(accelerator="cuda"), capfd)


def test_more_gpus_than_there_are(experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Hardware(accelerator="cuda", name="GPU", cores=8, memory_bytes=1 << 36, gpus=1, compute_capability=9.0)
    monkeypatch.setattr(cluster, "this_machine", lambda _: one)
    path = experiment_file(serving={"tensor_parallel_size": 4})
    assert "4 GPUs requested, this machine has 1" in refused(path, capfd)


def test_environment_that_is_not_built(experiment_file: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(role: str, accelerator: str | None = None) -> Path:
        raise environments.EnvironmentMissing(f'environment "{role}" is not built')

    monkeypatch.setattr(environments, "interpreter", missing)
    assert "is not built" in refused(experiment_file(), capfd)


def test_plan_for_a_gpu_shows_what_quantizing_needs(
    experiment_file: Any, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"cores": 8, "memory_bytes": 1 << 36, "gpus": 1, "gpu_memory_bytes": 80 << 30, "compute_capability": 8.6}
    monkeypatch.setattr(cluster, "this_machine", lambda _: Hardware(accelerator="cuda", name="GPU", **large))
    model = {"kind": "path", "path": str(write_model(tmp_path / "model"))}
    assert main(["plan", str(experiment_file(model=model))]) == DONE
    shown = capfd.readouterr().out
    assert "GPU GiB to quantize" in shown
    (row,) = [line.split() for line in shown.splitlines() if "fp8-dynamic  " in line]
    assert "2.2" in row
    assert "may be slower than the base: fp8-dynamic, as FP8 arithmetic needs compute capability 8.9" in shown
    large["gpu_memory_bytes"] = 1 << 30
    assert "needs about 2.2 GiB of GPU memory, GPU has 1.0" in refused(experiment_file(model=model), capfd)
