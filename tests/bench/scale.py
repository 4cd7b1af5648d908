"""How full the devices are, from 1 to 64 of them and up to 1,000 variants: a sweep in simulated time.

"$(python3 actors/environments.py path develop)" tests/bench/scale.py --spread 0.2

The hall that hands out slots and turns is the real one (`actors.placement.allocation`), and so is the number of
variants under way; the engines are numbers. A variant quantizes on a slot, leaves it, is served and evaluated on a
slot, and is loaded there in its host's rounds. The bound is what nobody could beat: the slots never empty, and no
variant faster than its own steps.
"""

import argparse
import heapq
import itertools
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors.placement.allocation import SlotAllocation
from actors.placement.rounds import Member, Series
from actors.placement.slots import DeviceSlots

QUANTIZE, SERVE_AND_EVALUATE, LOAD, REPEATS = 600.0, 900.0, 180.0, 3
"""Seconds, about those of an 8B model on one GPU; a probe takes as long as one repeat of the load."""
SEATS_A_HOST = 8
_LIMIT = 0.1

Waiting = Callable[[], bool]
Variant = Generator[float | Waiting, None, None]
"""A variant's way: it says how long it computes, or what it waits for."""


@dataclass(frozen=True)
class Lengths:
    """Seconds of one variant's steps."""

    quantize: float
    evaluate: float
    load: float

    @property
    def total(self) -> float:
        return self.quantize + self.evaluate + REPEATS * self.load


def follow(hall: SlotAllocation, name: str, lengths: Lengths) -> Variant:
    """What a trial does (`flows.stages.variant`), in simulated seconds."""
    hall.queue(name, to_be_measured=False)
    yield lambda: hall.take(name) is not None
    yield lengths.quantize
    hall.leave(name)
    hall.queue(name, to_be_measured=True)
    yield lambda: hall.take(name) is not None
    yield lengths.evaluate
    hall.ready(name, Member(name, (Series(tuple(range(REPEATS)), _LIMIT),)))
    while True:
        yield lambda: hall.turn(name) is not None or hall.measured(name)
        if (turn := hall.turn(name)) is None:
            break
        yield lengths.load
        hall.done(name, turn, 1.0)
    hall.leave(name)


def makespan(devices: int, variants: list[Lengths]) -> float:
    """Simulated seconds until every variant is measured."""
    slots = [min(SEATS_A_HOST, devices - first) for first in range(0, devices, SEATS_A_HOST)]
    hall = SlotAllocation({f"host{i}": DeviceSlots(((),) * n, ((),) * n, together=n > 1) for i, n in enumerate(slots)})
    feed = iter(enumerate(variants))
    ends: list[tuple[float, int, Variant]] = []
    waiting: list[tuple[Waiting, Variant]] = []
    now, order = 0.0, itertools.count()

    def go_on(variant: Variant) -> bool:
        """Until it computes or waits; False where it is over."""
        try:
            wish = next(variant)
        except StopIteration:
            return False
        if callable(wish):
            waiting.append((wish, variant))
        else:
            heapq.heappush(ends, (now + wish, next(order), variant))
        return True

    def start() -> None:
        if (following := next(feed, None)) is not None:
            go_on(follow(hall, f"v{following[0]}", following[1]))

    for _ in range(devices + 1):
        start()
    while ends or waiting:
        moved = True
        while moved:
            moved = False
            for found in [found for found in waiting if found[0]()]:
                waiting.remove(found)
                moved = True
                if not go_on(found[1]):
                    start()
        if not ends:
            if waiting:
                raise RuntimeError(f"{len(waiting)} variants wait for ever")
            break
        now, _, variant = heapq.heappop(ends)
        if not go_on(variant):
            start()
    return now


def bound(devices: int, variants: list[Lengths]) -> float:
    """The longest way of one variant, or all work shared out among the devices."""
    return max(max(v.total for v in variants), sum(v.total for v in variants) / devices)


def drawn(count: int, spread: float, draw: random.Random) -> list[Lengths]:
    def about(seconds: float) -> float:
        return seconds * draw.uniform(1 - spread, 1 + spread)

    return [Lengths(about(QUANTIZE), about(SERVE_AND_EVALUATE), LOAD) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spread", type=float, default=0.0, help="how far a step's length is from the mean, at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("devices  variants  makespan / bound  seconds of the hall a variant  peak bytes a variant")
    for devices, variants in [(d, v) for d in (1, 2, 4, 8, 16, 32, 64) for v in (8 * d, 1000) if v <= 1000]:
        lengths = drawn(variants, options.spread, random.Random(options.seed))
        tracemalloc.start()
        began = time.process_time()
        ratio = makespan(devices, lengths) / bound(devices, lengths)
        took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(f"{devices:7d}  {variants:8d}  {ratio:16.3f}  {took / variants:29.5f}  {peak / variants:20.0f}")


if __name__ == "__main__":
    main()
