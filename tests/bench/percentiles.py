"""How often the interval of a 95th percentile of TTFT covers the truth, and how often a limit at it is decided wrongly.

TTFT as of servers that stall: lognormal around 200 ms, and one request in 25 waits a second longer; and the same where
each repeat is slower or faster than the others, as engine starts are. Each by the requests of a repeat. Beside the
interval that is used (order statistics of all repeats' requests, `flows.statistics.percentiles`) stands Student's t
over the 95th percentiles of the repeats, as this project had it until issue 17. Run with the interpreter of the
develop role:

    PYTHON tests/bench/percentiles.py        # under two minutes
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flows.statistics.intervals import mean_interval
from flows.statistics.percentiles import bounds, share_bounds

PERCENTILE, CONFIDENCE, STALLED, STALL_MS = 95, 0.95, 0.04, 1000.0
HEADERS = (
    "requests a repeat",
    "repeats",
    "starts differ by",
    "mean of p95s, off by",
    "t covers",
    "pooled p95, off by",
    "has both bounds",
    "covers",
    "limit at p95: keeps / breaks",
)


def latencies(random: np.random.Generator, count: int) -> np.ndarray:
    """TTFT in ms."""
    return np.asarray(random.lognormal(np.log(200), 0.5, count) + STALL_MS * (random.random(count) < STALLED))


def row(random: np.random.Generator, count: int, repeats: int, spread: float, runs: int) -> tuple[str, ...]:
    """One line of the table.

    Args:
        spread: standard deviation of the factor by which a repeat is slower than another.
    """
    many = np.concatenate([latencies(random, 1000) * random.lognormal(0, spread) for _ in range(1000)])
    truth = float(np.percentile(many, PERCENTILE))
    means, pooled, by_t, both, covers, states = [], [], 0, 0, 0, [0, 0]
    for _ in range(runs):
        seen = [latencies(random, count) * random.lognormal(0, spread) for _ in range(repeats)]
        each = np.array([np.percentile(values, PERCENTILE) for values in seen])
        low, high = mean_interval(each, None, CONFIDENCE)
        means.append(each.mean())
        by_t += low <= truth <= high
        pooled.append(np.percentile(np.concatenate(seen), PERCENTILE))
        lower, upper = bounds(seen, PERCENTILE, CONFIDENCE)
        both += lower is not None and upper is not None
        covers += (lower or 0.0) <= truth <= (upper or np.inf)
        least, most = share_bounds([(int((values <= truth).sum()), len(values)) for values in seen], CONFIDENCE)
        states[0] += least >= PERCENTILE / 100
        states[1] += most < PERCENTILE / 100
    return (
        str(count),
        str(repeats),
        f"{100 * spread:g} %",
        f"{100 * (np.mean(means) / truth - 1):+.0f} %",
        f"{100 * by_t / runs:.1f} %",
        f"{100 * (np.mean(pooled) / truth - 1):+.0f} %",
        f"{100 * both / runs:.0f} %",
        f"{100 * covers / runs:.1f} %",
        f"{100 * states[0] / runs:.1f} / {100 * states[1] / runs:.1f} %",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2000)
    options = parser.parse_args()
    random = np.random.default_rng(17)
    print(f"| {' | '.join(HEADERS)} |\n|{' --- |' * len(HEADERS)}")
    for spread in (0.0, 0.02, 0.1):
        for count, repeats in ((3, 3), (10, 3), (24, 3), (100, 3), (400, 3), (100, 6)):
            print(f"| {' | '.join(row(random, count, repeats, spread, options.runs))} |", flush=True)


if __name__ == "__main__":
    main()
