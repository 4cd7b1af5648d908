"""What stands between a client and vLLM, as a share of what vLLM gives by itself.

The same checkpoint, engine settings, device and client, one after the other: `bare` is `vllm serve` as anybody starts
it; `served` is how a run serves a variant, by Ray Serve; `front` is how `deploy --target serve` does, behind one
address. Every line goes into FOLDER/results.jsonl as it comes. Run with the driver's interpreter, which is at
`python3 actors/environments.py path driver`:

    PYTHON tests/bench/serve_tax.py --checkpoint CHECKPOINT --folder FOLDER              # a CPU, 3 minutes an engine
    MSF_ACCELERATOR=cuda PYTHON tests/bench/serve_tax.py --checkpoint CHECKPOINT --folder FOLDER \\
        --streams 1,32,128,256 --prompt-tokens 1024 --output-tokens 128 --seconds 20 --warmup 10   # a GPU
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import ray
from bare_engine import MODEL, bare_engine

from actors import environments
from actors.artifacts import EngineSpec
from actors.benchmarker import Benchmarker
from actors.placement import processes
from actors.placement.coordinator import coordinator
from actors.placement.lease import Needs, lease
from actors.programs import vllm_server
from actors.serving import LOOPBACK, await_ready, deployed, end_deployment, mark_of, serving_host
from flows import cluster
from flows.analysis import requests

SHOWN = ("output_tokens_per_second", "ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms", "client_share")
START_S = 900.0
KEY = "tax"
"""Asked for by all but the bare engine, which takes every client."""


class Bench:
    """What all the ways to serve have in common."""

    def __init__(self, options: argparse.Namespace, accelerator: str) -> None:
        self.options, self.accelerator = options, accelerator
        self.node: str = ray.get_runtime_context().get_node_id()
        on_cpu = accelerator == "cpu"
        cores = sorted(os.sched_getaffinity(0))
        self.cores = tuple(cores[: options.engine_cores or len(cores)]) if on_cpu else ()
        self.engine = {
            "max_model_len": options.prompt_tokens + options.output_tokens + 64,
            "max_num_seqs": max(options.streams),
            "dtype": "bfloat16",
            "enforce_eager": on_cpu,
            "enable_prefix_caching": False,
            "load_format": "safetensors",
        } | ({} if on_cpu else {"gpu_memory_utilization": options.gpu_memory_utilization})
        self.checkpoint, self.cache = str(options.checkpoint), options.folder / "compiled"
        self.coordinator = coordinator(runtime_env={"py_executable": str(environments.interpreter("driver"))})

    @contextlib.contextmanager
    def bare(self, server: Any) -> Iterator[tuple[str, str]]:
        """`vllm serve`, with no line for each request, as ours."""
        with bare_engine(
            self.checkpoint,
            self.engine,
            cores=self.cores,
            kv_cache_gib=1,
            compiled=self.cache,
            logs=self.options.folder,
            start_timeout_s=START_S,
        ) as url:
            yield MODEL, url

    def _spec(self, model: str, lease: str) -> EngineSpec:
        return EngineSpec(
            model=model,
            checkpoint=self.checkpoint,
            arguments=self.engine,
            lease=lease,
            variables=vllm_server.variables(self.cores, 1),
            cores=len(self.cores),
            gpus=0 if self.cores else 1,
            host=LOOPBACK,
            cache=str(self.cache),
            start_timeout_s=START_S,
            key=KEY,
        )

    @contextlib.contextmanager
    def served(self, server: Any) -> Iterator[tuple[str, str]]:
        """A variant of a run."""
        spec = self._spec("tax.served", mark_of("tax.served"))
        with deployed(self.coordinator, server, spec, node=self.node, cores=self.cores) as deployment:
            url, _ = await_ready(server, deployment, START_S)
            yield "tax.served", url

    @contextlib.contextmanager
    def front(self, server: Any) -> Iterator[tuple[str, str]]:
        """The live revision of a deployment."""
        front, revision = "deployed:tax", "abcdef12"
        spec, route = self._spec("tax", mark_of(f"{front}:{revision}")), "/deployed/tax"
        ingress = {"route": route, "mark": mark_of(front), "bind": (LOOPBACK, vllm_server.free_port(LOOPBACK))}
        try:
            ray.get(server.offer.remote(front, revision, spec, {**ingress, "scale": (1, 1, 1.0), "drain_s": 5}))
            for name in (f"{front}:{revision}", front):
                url, _ = ray.get(server.wait.remote(name, START_S))
            ray.get(server.direct.remote(front, revision, {**ingress, "timeout_s": 60}))
            if self.cores:
                processes.keep_off(spec.lease, list(self.cores))
            yield "tax", url
        finally:
            end_deployment(server, front, [self.node], 10)
            end_deployment(server, f"{front}:{revision}", [self.node], 10)

    def measure(self, way: str, server: Any, client: Any) -> list[dict[str, Any]]:
        """Start an engine in one way, go through the grid once to warm it, and measure."""
        begun = time.monotonic()
        with getattr(self, way)(server) as (model, url):
            seconds = time.monotonic() - begun
            self._load(client, url, model, 2.0, 0.0)
            points = self._load(client, url, model, self.options.seconds, self.options.warmup)
        found = [
            {"way": way, "start_s": round(seconds, 1), "streams": streams, **point}
            for streams, point in zip(self.options.streams, points, strict=True)
        ]
        with (self.options.folder / "results.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        return found

    def _load(self, client: Any, url: str, model: str, seconds: float, warmup: float) -> list[dict[str, float]]:
        folder = self.options.folder / f"load-{time.time():.0f}"
        folder.mkdir(parents=True)
        asked = client.benchmark.remote(
            url=url,
            model=model,
            key=KEY,
            tokenizer=self.checkpoint,
            profile={"kind": "concurrent", "streams": list(self.options.streams)},
            prompt_tokens=self.options.prompt_tokens,
            output_tokens=self.options.output_tokens,
            pace={"warmup_s": warmup, "duration_s": seconds},
            seed=1,
            cores=[],
            destination=str(folder),
        )
        windows = ray.get(asked)
        points = requests.read(folder, [window.seconds for window in windows], open_loop=False)
        return [
            requests.figures(point, client_share=window.client_share)
            for point, window in zip(points, windows, strict=True)
        ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ways", default="bare,served,front", help="in this order; a way may stand twice")
    parser.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warmup", type=float, default=4.0)
    parser.add_argument("--engine-cores", type=int, help="on a CPU; all if it is left out")
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.9)
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    accelerator = environments.accelerator()
    found: list[dict[str, Any]] = []
    with cluster.connected(accelerator) as logs:
        print(f"{cluster.machine.describe()['gpus'] or cluster.machine.describe()['cpu']}; logs in {logs}", flush=True)
        bench = Bench(options, accelerator)
        with serving_host(bench.coordinator) as server, lease(Benchmarker, Needs(), node=bench.node) as client:
            for way in options.ways.split(","):
                found += bench.measure(way, server, client)
                _print(found[-len(options.streams) :])
    _print_shares(found)


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        figures = "  ".join(f"{name} {row.get(name, float('nan')):9.2f}" for name in SHOWN)
        head = f"{row['way']:7} up in {row['start_s']:5.1f} s  {row['streams']:4} clients  {row['requests']:5} requests"
        print(f"{head}  {figures}", flush=True)


def _print_shares(found: list[dict[str, Any]]) -> None:
    """Each way against the mean of the bare engines, load by load."""
    bare = [row for row in found if row["way"] == "bare"]
    for row in found if bare else []:
        like = [one for one in bare if one["streams"] == row["streams"]]
        speed, ttft, tpot = (
            (row.get(name, float("nan")), sum(one.get(name, float("nan")) for one in like) / len(like))
            for name in (SHOWN[0], "ttft_p50_ms", "tpot_p50_ms")
        )
        print(
            f"{row['way']:7} {row['streams']:4} clients: tokens/s {100 * speed[0] / speed[1]:6.1f} % of bare, "
            f"TTFT p50 {ttft[0] - ttft[1]:+7.1f} ms, TPOT p50 {100 * (tpot[0] / tpot[1] - 1):+6.1f} %"
        )


if __name__ == "__main__":
    main()
