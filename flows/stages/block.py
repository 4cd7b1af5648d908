"""A variant under load in blocks with the baseline, so that what is compared was measured in turn on one host.

A repeat is one turn of the variant and one of the baseline, minutes apart at the most and with the same prompts; who is
first changes from repeat to repeat, so that what drifts favours nobody, and who is first at all is drawn by the seed.
Both are in one record, and a baseline of another day is never compared with. The repeats are spread over several starts
of both engines, as the same engine is a little faster or slower with every start (Kalibera and Jones, Rigorous
benchmarking in reasonable time, ISMM 2013). The baseline is put beside a second start of itself: that is the control.

Where a host has room for two engines, both are up for all repeats of a start, warmed up at the same time, and where
co-location was seen to cost little, benchmarked at the same time. Where it has room for one, each start is variant,
base, then base, variant.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import ray

from actors.placement.allocation import Slot
from actors.placement.coordinator import my_id
from actors.placement.lease import on_node
from actors.placement.machine import host_and_driver
from actors.placement.rounds import Member, Series, Turn
from actors.serving import check_up
from configs.load import load_of
from flows.runtime.context import Run, Services
from flows.runtime.outcome import Outcome
from flows.stages.benchmark import fastest, sweep, warmed_up
from flows.stages.looks import look_at
from flows.stages.served import Served, Started, bring_up, serving
from flows.store.records import Draft
from flows.store.results import Benchmark, Figures, Side

_VARIANT, _BASE = "variant", "base"
"""Of a record's block; the second is the baseline's, whoever that is."""
_IN_WORDS = {_VARIANT: "variant", _BASE: "baseline"}
_Points = list[Figures]
_First = Callable[[Served], None]
_T = TypeVar("_T")


def benchmark_in_blocks(
    run: Run,
    outcome: Outcome,
    services: Services,
    first: _First | None = None,
    only: frozenset[int] = frozenset(),
) -> None:
    """Every repeat of every load that has no record yet, start by start.

    Args:
        first: uses the variant's engine for something else, before its load begins.
        only: indices of the benchmarks to be made; none for all.
    """
    sizes, one_by_one = run.plan.sizes(outcome.plan), run.plan.one_by_one(outcome.plan)
    held = (max(sizes),) if one_by_one else sizes
    with run.holding_slots(outcome, services, to_be_measured=True, sizes=held) as slot:
        look_at(run, outcome, services)
        while starts := _starts(run, outcome, only):
            block = _Block(run, outcome, services, slot, min(starts), only)
            if one_by_one:
                block.one_after_the_other(first)
            else:
                block.side_by_side(first)
            first = None


def _starts(run: Run, outcome: Outcome, only: frozenset[int]) -> dict[int, list[int]]:
    """Indices of the benchmarks that are due and have no record, by the start that they are made with."""
    experiment, indices = run.plan.experiment, dict[int, list[int]]()
    for index in outcome.due:
        workload, repeat = experiment.benchmarks[index]
        if outcome.benchmarks[index] is None and (not only or index in only):
            start = experiment.loads[workload].start_of(repeat, run.plan.hardware.accelerator)
            indices.setdefault(start, []).append(index)
    return indices


@dataclass(frozen=True)
class _Block:
    """One start of a variant and of the baseline, and what is measured with it."""

    run: Run
    outcome: Outcome
    services: Services
    slot: Slot
    start: int
    only: frozenset[int]
    """Indices of the benchmarks to be made; none for all."""

    @property
    def _due(self) -> list[int]:
        """Indices of the benchmarks of this start that are due."""
        return _starts(self.run, self.outcome, self.only).get(self.start, [])

    @property
    def _sides(self) -> tuple[str, ...]:
        return (_VARIANT, _BASE) if self.outcome.plan.beside_base else (_VARIANT,)

    def side_by_side(self, first: _First | None) -> None:
        """With all engines up, repeat by repeat, each when it is this block's turn on the host."""
        slots = self.slot.indices[:: -1 if self._drawn(self.start) else 1]
        with ExitStack() as up:
            pairs = zip(self._sides, slots, strict=True)
            started = {side: up.enter_context(self._engine(side, slot)) for side, slot in pairs}
            served = {side: bring_up(self.run, self.services, engine) for side, engine in started.items()}
            if first:
                first(served[_VARIANT])
            served = _at_once(served, lambda engine: warmed_up(self.run, engine, self.services))
            began = time.time()
            while due := self._due:
                self._take_turns(self._series(due), lambda turn: self._turn(turn, served, began))
                look_at(self.run, self.outcome, self.services)

    def one_after_the_other(self, first: _First | None) -> None:
        """Each engine for itself, with all repeats of this start: the whole of it is one turn on the host."""
        alone = (Series((self.start,), 1.0),)
        self._take_turns(alone, lambda _: self._each_for_itself(self._due, first))
        look_at(self.run, self.outcome, self.services)

    def _take_turns(self, series: tuple[Series, ...], take: Callable[[Turn], float]) -> None:
        name, coordinator = self.outcome.name, self.services.coordinator
        self.run.progress.say(name, "ready for load: waiting for the others on this host ...")
        beside = (self.run.baseline.name,) if self.outcome.plan.beside_base else ()
        member = Member(name, series, self.run.plan.experiment.name, beside)
        ray.get(coordinator.ready.remote(my_id(), member))
        while (turn := ray.get(coordinator.next_turn.remote(my_id()))) is not None:
            ray.get(coordinator.done.remote(my_id(), turn, take(turn)))

    def _series(self, due: list[int]) -> tuple[Series, ...]:
        """What is due, load by load."""
        experiment = self.run.plan.experiment
        return tuple(
            Series(tuple(index for index in due if experiment.benchmarks[index][0] == workload), load.max_interference)
            for workload, load in experiment.loads.items()
        )

    @contextmanager
    def _engine(self, side: str, slot: int) -> Iterator[Started]:
        who = self.outcome if side == _VARIANT else self.run.baseline
        beside = "" if side == _VARIANT else self.outcome.name
        with serving(self.run, who, self.services, self.slot.at(slot), beside) as started:
            yield started

    def _drawn(self, number: int) -> bool:
        """One of two ways, which changes from number to number; of the first it is drawn by the seed of the loads."""
        seeds = [load.seed for load in self.run.plan.experiment.loads.values()]
        return (number + random.Random(f"{seeds} {self.outcome.name}").randrange(2)) % 2 == 1

    def _sweep(self, served: Served, index: int, folder: Path) -> _Points:
        orders = self.outcome.plan.benchmarks[index].orders
        into = folder if not served.beside else folder / _BASE
        self.run.store.near(self.slot.host, _make, into)
        load = load_of(orders["load"])
        return sweep(self.run, served, self.services, load, repeat=orders["repeat"], destination=into)

    def _turn(self, turn: Turn, served: Mapping[str, Served], began: float) -> float:
        """One repeat and its record, or a probe, which goes into none: what does co-location cost?"""
        if turn.probe:
            engines = served if turn.colocated else {_VARIANT: served[_VARIANT]}
            self._say(turn.benchmark, "measuring interference: one engine alone, then all together")
            with self.run.store.scratch(self.slot.host, self.run.logs) as scratch:
                points = _at_once(engines, lambda engine: self._sweep(engine, turn.benchmark, scratch))
            return fastest(points[_VARIANT])

        def measure(draft: Draft[Benchmark]) -> None:
            _, repeat = self.run.plan.experiment.benchmarks[turn.benchmark]
            order = list(served)[:: -1 if self._drawn(repeat) else 1]
            others = [name for name in dict.fromkeys(turn.colocated) if name != self.outcome.name]
            beside = ", ".join(others) or "a second start of itself"
            self._say(turn.benchmark, f"together with {beside}" if turn.colocated else f"{_IN_WORDS[order[0]]} first")
            with draft.on(self.slot.host) as work:
                if turn.colocated:
                    points = _at_once(served, lambda engine: self._sweep(engine, turn.benchmark, work))
                else:
                    points = {side: self._sweep(served[side], turn.benchmark, work) for side in order}
            for engine in served.values():
                check_up(self.services.server, engine.deployment, engine.url)
            draft.result = replace(
                self._result(served, points, began, time.time() - draft.began),
                company=turn.colocated,
                interference=turn.interference,
                first=None if turn.colocated else order[0],
            )

        step = self.outcome.plan.benchmarks[turn.benchmark]
        record = self.outcome.benchmarks[turn.benchmark] = self.run.do_once(step, self.services, measure)
        self._say_rates(record.result, record.seconds)
        return fastest(record.result.points)

    def _each_for_itself(self, due: list[int], first: _First | None) -> float:
        steps = self.outcome.plan.benchmarks
        order = self._sides[:: -1 if self.start % 2 else 1]

        def measure(drafts: dict[str, Draft[Benchmark]]) -> None:
            began, points, served = time.time(), dict[str, dict[str, _Points]](), dict[str, Served]()
            seconds = dict.fromkeys(drafts, 0.0)
            with ExitStack() as working:
                folders = {of: working.enter_context(draft.on(self.slot.host)) for of, draft in drafts.items()}
                for side in order:
                    with self._engine(side, self.slot.index) as started:
                        engine = bring_up(self.run, self.services, started)
                        if first and side == _VARIANT:
                            first(engine)
                        served[side] = engine = warmed_up(self.run, engine, self.services)
                        for index in {steps[index].fingerprint: index for index in due}.values():
                            if (of := steps[index].fingerprint) in drafts:
                                self._say(index, _IN_WORDS[side])
                                since = time.monotonic()
                                points.setdefault(of, {})[side] = self._sweep(engine, index, folders[of])
                                seconds[of] += time.monotonic() - since
                        check_up(self.services.server, engine.deployment, engine.url)
            for of, draft in drafts.items():
                draft.result = replace(self._result(served, points[of], began, seconds[of]), first=order[0])

        records = self.run.do_all([steps[index] for index in due], self.services, measure)
        for index in due:
            record = self.outcome.benchmarks[index] = records[steps[index].fingerprint]
            self._say_rates(record.result, record.result.load_s or record.seconds)
        return fastest(records[steps[due[0]].fingerprint].result.points)

    def _result(
        self, served: Mapping[str, Served], points: Mapping[str, _Points], began: float, seconds: float
    ) -> Benchmark:
        """What a record says of the variant, and of the baseline where it was beside it.

        Args:
            began: when the engines of this start were ready, in seconds since 1970: it names the start.
            seconds: that the load took.
        """
        return Benchmark(
            **vars(self._side(served[_VARIANT], points[_VARIANT])),
            base=self._side(served[_BASE], points[_BASE]) if _BASE in served else None,
            start=began,
            load_s=seconds,
            block=on_node(self.slot.host, host_and_driver),
        )

    def _side(self, engine: Served, points: _Points) -> Side:
        slots = self.run.plan.slots
        return Side(
            points=tuple(points),
            engine_cores=slots.engines[engine.slot.index],
            client_cores=slots.clients[engine.slot.index],
            deployment=engine.report,
            reference=engine.difference,
        )

    def _say(self, index: int, what: str) -> None:
        workload, repeat = self.run.plan.experiment.benchmarks[index]
        load = self.run.plan.experiment.loads[workload]
        under, most = f"under load {workload}".rstrip(), "at most " if load.repeats == "auto" else ""
        text = f"{under}, {what}, {repeat + 1} of {most}{load.looks[-1]} ..."
        self.run.progress.say(self.outcome.name, text)

    def _say_rates(self, result: Benchmark, seconds: float) -> None:
        rates = " against ".join(
            ", ".join(f"{point['output_tokens_per_second']:.1f}" for point in side.points)
            for side in (result, result.base)
            if side
        )
        self.run.progress.say(self.outcome.name, f"benchmarked in {seconds:.0f} s: {rates} output tokens/s")


def _at_once(served: Mapping[str, Served], put: Callable[[Served], _T]) -> dict[str, _T]:
    """The same done to several engines at the same time."""
    with ThreadPoolExecutor(len(served)) as pool:
        futures = {side: pool.submit(put, engine) for side, engine in served.items()}
        return {side: future.result() for side, future in futures.items()}


def _make(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
