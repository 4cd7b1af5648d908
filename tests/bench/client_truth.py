"""What the load generator and `flows.analysis.requests` report of a server whose latencies are known.

A mock of an OpenAI server answers with a fixed TTFT and gap between tokens, stalls every so many requests for a second
before the first token, and has room for a fixed number of requests at once, so that the rate that
saturates it is known too. Run with the interpreter of the inference role, which is at
`python3 actors/environments.py path inference`:

    PYTHON tests/bench/client_truth.py --tokenizer CHECKPOINT --folder SCRATCH
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TTFT_S, GAP_S, TOKENS = 0.2, 0.02, 16
STALL_S, STALLED_EVERY = 1.0, 40
ROOM = 8
SERVICE_S = TTFT_S + (TOKENS - 1) * GAP_S
WARMUP_S, GRACE_S = 2.0, 30.0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: dict[str, Any]) -> None:
    """One connection: requests one after the other, each a stream of tokens at their due times."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            async with state["room"]:
                begun = time.perf_counter()
                stall = STALL_S if next(state["number"]) % STALLED_EVERY == STALLED_EVERY - 1 else 0.0
                for token in range(TOKENS):
                    await _until(begun + TTFT_S + stall + token * GAP_S)
                    _send(writer, {"choices": [{"index": 0, "text": " a", "finish_reason": None}]})
            usage = {"prompt_tokens": 8, "completion_tokens": TOKENS, "total_tokens": 8 + TOKENS}
            _send(writer, {"choices": [], "usage": usage})
            _send(writer, None)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _until(moment: float) -> None:
    if (left := moment - time.perf_counter()) > 0:
        await asyncio.sleep(left)


def _send(writer: asyncio.StreamWriter, content: dict[str, Any] | None) -> None:
    line = b"data: " + (b"[DONE]" if content is None else json.dumps(content).encode()) + b"\n\n"
    writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def serve(port: Any) -> None:
    """The mock server, on a port of its own; it says which."""

    async def main() -> None:
        state = {"room": asyncio.Semaphore(ROOM), "number": count()}
        server = await asyncio.start_server(lambda r, w: _answer(r, w, state), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(main())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    server = context.Process(target=serve, args=(port,), daemon=True)
    server.start()
    os.environ["GUIDELLM__MAX_WORKER_PROCESSES"] = "1"
    from actors.engines import guidellm
    from flows.analysis import requests

    while not port.value:
        time.sleep(0.1)
    most = ROOM / (SERVICE_S + STALL_S / STALLED_EVERY)
    print(f"the server takes at most {most:.2f} requests/s; {options.seconds:g} s a point")
    loads = {"concurrent": [1, 4], "constant": [0.5 * most, 1.1 * most], "poisson": [0.5 * most, 1.5 * most]}
    for kind, values in loads.items():
        folder = options.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        spans = guidellm.benchmark(
            f"http://127.0.0.1:{port.value}",
            "mock",
            str(options.tokenizer),
            profile={"kind": kind, "streams" if kind == "concurrent" else "rate": values},
            prompt_tokens=8,
            output_tokens=TOKENS,
            pace={
                "warmup_s": WARMUP_S,
                "duration_s": options.seconds,
                "grace_s": GRACE_S,
                "open_loop": kind != "concurrent",
            },
            seed=1,
            destination=folder,
        )
        points = requests.read(folder, [end - start for start, end in spans], open_loop=kind != "concurrent")
        for value, point in zip(values, points, strict=True):
            _report(kind, value, requests.figures(point, rate=None if kind == "concurrent" else value), requests)
    server.terminate()


def _report(kind: str, value: float, found: dict[str, float], requests: Any) -> None:
    """Truth and report side by side; a stalled request waits a second longer for its first token."""
    truth = {
        "ttft_p50_ms": 1000 * TTFT_S,
        "ttft_p99_ms": 1000 * (TTFT_S + STALL_S),
        "tpot_p50_ms": 1000 * GAP_S,
        "request_latency_p50_ms": 1000 * SERVICE_S,
        "request_latency_p99_ms": 1000 * (SERVICE_S + STALL_S),
    }
    open_loop = kind != "concurrent"
    labels = requests.labels(found, open_loop=open_loop)
    speed = found["output_tokens_per_second"]
    print(f"\n{kind} {value:.2f}: {found['requests']} requests, {speed:.1f} tokens/s, {labels}")
    behind = (
        f"{100 * found['overload']:.1f} % too much, at least {100 * found['overload_low']:.1f}" if open_loop else ""
    )
    print(f"client delay p95 {found['client_delay_p95_ms']:.2f} ms, {found['unfinished']} given up, {behind}")
    for name, expected in truth.items():
        print(f"  {name:24} truth {expected:7.1f}  reported {found[name]:8.1f}  {found[name] - expected:+7.1f}")


if __name__ == "__main__":
    main()
