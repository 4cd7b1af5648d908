"""Time, memory and validity of the quantizer on a model of real size, without network and without Ray.

What GPTQ costs depends on the shapes of a model, not on what it knows. So this writes a checkpoint with
exactly Llama-3.1-8B's shapes and random weights, a tokenizer and calibration text, and has the project's
own engine (`actors.engines.llmcompressor.quantize`) compress it, each scheme in a process of its own:
llm-compressor's session is global to a process, and so is a peak of memory. What it cannot say is how
well a real model survives.

    python tests/bench/quantize_on_gpu.py --folder SCRATCH --out results.json
    python tests/bench/quantize_on_gpu.py --folder SCRATCH --small     # on a CPU
"""

import argparse
import functools
import importlib.metadata
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from pydantic import TypeAdapter
from safetensors import safe_open

from configs.schemes import Scheme
from flows.store import checkpoints

LLAMA_8B = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256}
LLAMA_8B |= {"num_attention_heads": 32, "num_key_value_heads": 8}
SMALL = {"num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 512, "vocab_size": 2048}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}
# Layers whose weights are compared, each with the norm before it that SmoothQuant rescales.
CHECKED = {"self_attn.q_proj": "input_layernorm", "self_attn.o_proj": None}
CHECKED |= {"mlp.gate_proj": "post_attention_layernorm", "mlp.down_proj": None}


def generate(source: str, shape: dict[str, int], seed: int) -> dict[str, int]:
    """Write a Llama checkpoint of this shape: bfloat16, untied embeddings, weights from N(0, 0.02)."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rope = {"rope_type": "default", "rope_theta": 500000.0}
    config = LlamaConfig(**shape, initializer_range=0.02, rope_parameters=rope, tie_word_embeddings=False)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(config).save_pretrained(source, max_shard_size="4GB")
    words = ["<unk>", "<s>", "</s>", *(f"w{n}" for n in range(3, shape["vocab_size"]))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(source)
    return {"bytes": checkpoints.weight_bytes(Path(source))}


def documents(count: int, words: int, vocabulary: int, seed: int) -> list[str]:
    """Texts of `words` words, a token each; as in language, the n-th word has probability ~ 1/n."""
    draw, numbers = random.Random(seed), range(3, vocabulary)
    chances = [1 / n for n in numbers]
    return [" ".join(f"w{n}" for n in draw.choices(numbers, chances, k=words)) for _ in range(count)]


class _Memory(threading.Thread):
    """Every 20 ms: time, bytes torch allocated on the GPU, in use there, anonymous on the host, mapped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int, int, int, int]] = []
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.02):
            allocated = in_use = 0
            if torch.cuda.is_initialized():
                allocated, (free, total) = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()
                in_use = total - free
            status = Path("/proc/self/status").read_text()
            anonymous, mapped = (int(n) << 10 for n in re.findall(r"Rss(?:Anon|File):\s+(\d+)", status))
            self.samples.append((time.monotonic(), allocated, in_use, anonymous, mapped))

    def stop(self) -> None:
        self._done.set()
        self.join()

    def peak(self, column: int, start: float = 0.0, end: float = float("inf")) -> int:
        return max((int(s[column]) for s in self.samples if start <= s[0] <= end), default=0)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """One scheme, in this process: the engine's seconds by phase, peaks, and what the checkpoint is worth."""
    os.environ["LLM_COMPRESSOR_LOG_LEVEL"] = "ERROR"  # as the engine does, which imports it later
    import llmcompressor as library

    from actors.engines import llmcompressor

    library.oneshot = functools.partial(library.oneshot, **job["oneshot"])
    torch.set_float32_matmul_precision(job["matmul"])
    scheme: Any = TypeAdapter(Scheme).validate_python(job["scheme"])
    source, destination, log = (Path(job[name]) for name in ("source", "destination", "log"))
    texts = documents(job["samples"], job["sequence_length"], job["shape"]["vocab_size"], job["seed"])
    calibration = {key: job[key] for key in ("samples", "sequence_length", "seed")}
    calibration |= {"packed": False, "documents": texts}
    memory, started = _Memory(), time.monotonic()
    settings = {"declared_weight_bits": scheme.declared_weight_bits, "log": log}
    settings["calibration"] = calibration if scheme.needs_calibration else None
    made = llmcompressor.quantize(source, destination, recipe=scheme.recipe(), dtype="bfloat16", **settings)
    memory.stop()
    peaks = {
        "gpu_allocated": made.peak_device_bytes,
        "gpu_reserved": torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0,
        "gpu_in_use": memory.peak(2),
        "host_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "host_anonymous": memory.peak(3),
        "host_mapped_files": memory.peak(4),
    }
    for phase, seconds in made.seconds.items():
        peaks[f"gpu_allocated in {phase}"] = memory.peak(1, started, started + seconds)
        peaks[f"host_anonymous in {phase}"] = memory.peak(3, started, started + seconds)
        started += seconds
    checkpoints.verify(destination, compressed=True)
    found = {"seconds": {**made.seconds, "gptq": _solving(log)}, "peaks": peaks}
    found["checkpoint"] = _described(source, destination, scheme)
    return {**found, "errors": errors(source, destination)}


def _solving(log: Path) -> float:
    """Seconds in GPTQ's own algorithm. Modules solved as one batch each log the whole batch's time."""
    total, batch = 0.0, 1
    for line in log.read_text().splitlines():  # every one is there twice, once as JSON
        found = re.match(r"[^{].*(?:Quantizing (\d+) module|- time ([\d.]+)s)", line)
        if found and found[1]:
            batch = int(found[1])
        elif found:
            total += float(found[2]) / batch
    return total


def _described(source: Path, folder: Path, scheme: Any) -> dict[str, Any]:
    layers = checkpoints.linear_shapes(checkpoints.tensors(source), scheme)
    quantized = sum(outputs * inputs for _, outputs, inputs in layers)
    untouched = checkpoints.weight_bytes(source) - 2 * quantized
    scales = sum(tensor.name.endswith("weight_scale") for tensor in checkpoints.tensors(folder))
    return {
        "weights": checkpoints.weight_bytes(folder),
        "expected": int(quantized * scheme.bits_per_weight / 8) + untouched,
        "format": checkpoints.config(folder)["quantization_config"]["format"],
        "quantized_layers": f"{scales} of {len(layers)}",
    }


def errors(source: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Per layer looked at, ||W' - W|| / ||W|| of the checkpoint, and of W merely rounded to the same grid."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize

    section = QuantizationConfig.model_validate(checkpoints.config(folder)["quantization_config"])
    scheme = next(iter(section.config_groups.values()))
    compressor = BaseCompressor.get_value_from_registry(scheme.format or section.format)
    count, found = checkpoints.config(source)["num_hidden_layers"], {}
    for layer in sorted({0, count // 2, count - 1}):
        for name, norm in CHECKED.items():
            prefix = f"model.layers.{layer}."
            weight, stored = _read(source, prefix + name)["weight"].float(), _read(folder, prefix + name)
            smoothing = torch.ones(weight.shape[1])
            if norm:  # undo SmoothQuant, which divided the norm by the factors of the columns
                smoothing = _read(source, prefix + norm)["weight"] / _read(folder, prefix + norm)["weight"].float()
            scale, zero = stored["weight_scale"].float(), stored.get("weight_zero_point")
            rounded = fake_quantize(weight * smoothing, scale, zero, scheme.weights) / smoothing
            restored = compressor.decompress(stored, scheme)["weight"].float() / smoothing
            error, merely = (float((x - weight).norm() / weight.norm()) for x in (restored, rounded))
            found[prefix + name] = {"checkpoint": error, "rounded": merely}
    return found


def _read(folder: Path, module: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        with safe_open(shard, framework="pt") as file:
            names = [name for name in file.keys() if name.rpartition(".")[0] == module]  # noqa: SIM118
            tensors |= {name.rpartition(".")[2]: file.get_tensor(name) for name in names}
    return tensors


def report(schemes: dict[str, Any]) -> str:
    """The results as a Markdown table, a column for each scheme."""
    columns = [_cells(result) for result in schemes.values()]
    labels = dict.fromkeys(label for cells in columns for label in cells)
    rows = [["", *schemes], ["---"] * (len(schemes) + 1)]
    rows += [[label, *(cells.get(label, "") for cells in columns)] for label in labels]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(result: dict[str, Any]) -> dict[str, str]:
    cells = {"became": result["status"], "process, s": f"{result['process_seconds']:.1f}"}
    if "peaks" not in result:
        return cells
    cells |= {f"{phase}, s": f"{seconds:.1f}" for phase, seconds in result["seconds"].items()}
    cells |= {f"peak {name}, GiB": f"{size / 2**30:.2f}" for name, size in result["peaks"].items()}
    stored = result["checkpoint"]
    cells |= {f"{key}, GB": f"{stored[key] / 1e9:.3f}" for key in ("weights", "expected")}
    cells |= {key: stored[key] for key in ("format", "quantized_layers")}
    for kind, label in (("checkpoint", "error"), ("rounded", "error if merely rounded")):
        values = [error[kind] for error in result["errors"].values()]
        cells[label] = f"{min(values):.4f} to {max(values):.4f}"
    return cells


def _in_child(step: str, job: dict[str, Any], folder: Path, deadline: float) -> dict[str, Any]:
    """Run one step in a process of its own; say what became of it."""
    answer, started = folder / "answer.json", time.monotonic()
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    try:
        code = subprocess.run(command, timeout=deadline - started).returncode
        status = f"failed with exit code {code}" if code else "done"
    except subprocess.TimeoutExpired:
        status = "not finished: out of time"
    found = json.loads(answer.read_text()) if status == "done" else {}
    return {"status": status, "process_seconds": time.monotonic() - started, **found}


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schemes", default="fp8-dynamic,int8-w8a8,int4-w4a16", help="kinds, with commas")
    parser.add_argument("--smoothquant", type=json.loads, default=0.8, help="alpha for int8-w8a8, or null")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--oneshot", type=json.loads, default={}, help="JSON: more settings for llm-compressor")
    parser.add_argument("--matmul", default="highest", help="float32 matrix products; high allows TF32")
    parser.add_argument("--small", action="store_true", help="a tiny model, 8 samples of 64 tokens")
    for name, value in LLAMA_8B.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"Llama-3.1-8B has {value}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget-s", type=float, default=86400.0, help="the rest is then not run")
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints; the original stays")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--step", choices=("generate", "measure"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Generate the checkpoint unless it is there, measure each scheme, print the table."""
    asked = _asked()
    if asked.step:
        job = json.loads((asked.folder / "job.json").read_text())
        found = measure(job) if asked.step == "measure" else generate(**job)
        (asked.folder / "answer.json").write_text(json.dumps(found))
        return 0
    deadline = time.monotonic() + asked.budget_s
    if asked.small:
        asked.samples, asked.sequence_length = 8, 64
    folder, default = asked.folder, SMALL if asked.small else LLAMA_8B
    shape = {name: getattr(asked, name) or value for name, value in default.items()}
    source = folder / "-".join(["original", *map(str, shape.values()), str(asked.seed)])
    job = {"source": str(source), "shape": shape, "seed": asked.seed}
    results: dict[str, Any] = {"arguments": sys.argv[1:], "machine": _machine(), **job}
    if not (source / "tokenizer_config.json").is_file():  # which is written last
        source.mkdir(parents=True, exist_ok=True)
        results["generate"] = _in_child("generate", job, folder, deadline)
    checkpoints.verify(source, compressed=False)
    results |= {"original_bytes": checkpoints.weight_bytes(source), "schemes": {}}
    job |= {key: getattr(asked, key) for key in ("samples", "sequence_length", "oneshot", "matmul")}
    for kind in asked.schemes.split(","):
        scheme = {"kind": kind} | ({"smoothquant": asked.smoothquant} if kind == "int8-w8a8" else {})
        files = {"destination": str(folder / kind), "log": str(folder / f"{time.time_ns()}.log")}
        found = _in_child("measure", {**job, **files, "scheme": scheme}, folder, deadline)
        results["schemes"][kind] = {"scheme": scheme, **found}
        shutil.rmtree(folder / kind, ignore_errors=True)
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{results['machine']}\noriginal: {results.get('generate', 'was there')}\n")
    print(report(results["schemes"]))
    return 0 if all(found["status"] == "done" for found in results["schemes"].values()) else 1


def _machine() -> dict[str, str]:
    packages = ("torch", "transformers", "llmcompressor", "compressed-tensors", "accelerate", "datasets")
    query = "nvidia-smi --query-gpu=name,driver_version --format=csv,noheader"
    device = subprocess.getoutput(query) if shutil.which("nvidia-smi") else "CPU"
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"device": device, "python": sys.version.split()[0], **versions}


if __name__ == "__main__":
    sys.exit(main())
