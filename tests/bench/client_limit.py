"""How many requests/s and tokens/s one Benchmarker can take, and how what it measures grows before that.

A mock of an OpenAI server streams completions, from processes of its own. At once: every token of a request follows the
one before without a pause, so that what is reached is the client's limit, or the mock's where the mock's share says so.
Paced: a token every 10 ms from the request on, so that what TTFT has, and TPOT has above 10 ms, is the client's, beside
the share of a core that its busiest process used. Client and mock have cores of their own where there are enough.
Run with the interpreter of the inference role, which is at `python3 actors/environments.py path inference`:

    PYTHON tests/bench/client_limit.py --cores 2 12 --server-processes 4        # on 16 cores; under 90 s
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

WARMUP_S = 1.0
LOADS = {"at once": (0.0, (1, 64, 256)), "paced": (0.01, (16, 64, 256))}
"""Seconds between tokens, and numbers of clients."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADERS = (
    "clients",
    "requests/s",
    "tokens/s",
    "client, % of its limit",
    "TTFT p50 / p95, ms",
    "TPOT p50 / p95, ms",
    "mock, % of its limit",
)


def _chunk(content: dict[str, Any] | None) -> bytes:
    line = f"data: {json.dumps(content) if content else '[DONE]'}\n\n"
    return f"{len(line):x}\r\n{line}\r\n".encode()


TOKEN = _chunk({"choices": [{"index": 0, "text": " a", "finish_reason": None}]})


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: requests one after the other, each a stream of tokens. The model's name is the seconds between
    them."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
            asked = json.loads(await reader.readexactly(length))
            begun, pause, tokens = time.perf_counter(), float(asked["model"]), asked["max_tokens"]
            writer.write(HEAD)
            for token in range(tokens):
                if writer.is_closing():  # the point is over
                    return
                writer.write(TOKEN)
                if pause:
                    await asyncio.sleep(max(0.0, begun + (token + 1) * pause - time.perf_counter()))
            usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}
            writer.write(_chunk({"choices": [], "usage": usage}) + _chunk(None) + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def serve(port: int, cores: set[int]) -> None:
    """One process of the mock server; all of them listen on one port, and the kernel gives each its connections."""
    os.sched_setaffinity(0, cores)

    async def main() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", port, reuse_port=True, backlog=1024)
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def mock_server(cores: set[int], processes: int) -> Iterator[tuple[int, list[int]]]:
    """The mock's port and process ids."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=serve, args=(port, cores)) for _ in range(processes)]
    for process in started:
        process.start()
    time.sleep(1)
    try:
        yield port, [process.pid for process in started if process.pid]
    finally:
        for process in started:
            process.terminate()


def load(options: argparse.Namespace, port: int, mocks: list[int]) -> None:
    """Every load from this process's cores, a table of each."""
    os.environ["MSF_LEASE"] = uuid.uuid4().hex
    from actors.benchmarker import Benchmarker
    from actors.programs import cpu_time
    from flows.analysis import requests

    for name, (pause, streams) in LOADS.items():
        with tempfile.TemporaryDirectory() as folder, cpu_time.watched(mocks, len(mocks)) as mock:
            write_tokenizer(Path(folder))
            windows = Benchmarker().benchmark(
                cores=[],
                destination=folder,
                url=f"http://127.0.0.1:{port}",
                model=str(pause),
                tokenizer=folder,
                profile={"kind": "concurrent", "streams": list(streams)},
                prompt_tokens=options.prompt_tokens,
                output_tokens=options.output_tokens,
                pace={"warmup_s": WARMUP_S, "duration_s": options.seconds},
                seed=1,
            )
            points = requests.read(Path(folder), [window.seconds for window in windows], open_loop=False)
        cores = len(os.sched_getaffinity(0))
        print(f"\n{cores} cores for the client, {name}\n\n| {' | '.join(HEADERS)} |\n|{' --- |' * len(HEADERS)}")
        for clients, window, point in zip(streams, windows, points, strict=True):
            found = requests.figures(point, client_share=window.client_share)
            print(row(clients, found, mock.share(window.start, window.end)), flush=True)


def write_tokenizer(folder: Path) -> None:
    """One token a byte: nothing has to be downloaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)


def row(clients: int, found: dict[str, float], mock: float | None) -> str:
    """One point of a table."""
    if not found["requests"]:
        return f"| {clients} | no request ended |" + " |" * (len(HEADERS) - 2)
    pairs = (f"{found[f'{name}_p50_ms']:.1f} / {found[f'{name}_p95_ms']:.1f}" for name in ("ttft", "tpot"))
    speeds = f"{found['requests_per_second']:.0f} | {found['output_tokens_per_second']:.0f}"
    shares = (f"{100 * share:.0f}" for share in (found["client_share"], mock or 0.0))
    return f"| {clients} | {speeds} | {next(shares)} | {' | '.join(pairs)} | {next(shares)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cores", type=int, nargs="+", default=[2])
    parser.add_argument("--server-processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds of a point")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--loads", type=int, nargs="+", help=argparse.SUPPRESS)
    options, begun, there = parser.parse_args(), time.monotonic(), sorted(os.sched_getaffinity(0))
    if options.loads:
        return load(options, options.loads[0], options.loads[1:])
    for count in options.cores:
        ours, others = set(there[:count]), set(there[count:]) or set(there)
        with mock_server(others, options.server_processes) as (port, mocks):
            # GuideLLM makes a logger that its workers can inherit in a main process alone.
            command = [sys.executable, *sys.argv, "--loads", str(port), *map(str, mocks)]
            subprocess.run(command, check=True, preexec_fn=lambda ours=ours: os.sched_setaffinity(0, ours))
    print(f"\n{len(there)} cores in all, {vars(options)}; {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
