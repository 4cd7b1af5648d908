"""DeviceSlots in the order of asking, rounds when nobody works any more, turns in balanced order."""

import pickle
import random
from collections.abc import Iterator
from typing import Any

import pytest

from actors.placement.allocation import Slot, SlotAllocation
from actors.placement.rounds import Member, Round, Series, Turn
from actors.placement.slots import DeviceSlots

TWO = DeviceSlots(engines=((0,), (1,)), clients=((1,), (0,)), together=False)
FIVE = DeviceSlots(((),) * 5, ((),) * 5, together=False, gpus_each=1)
ONE = DeviceSlots(engines=((0,),), clients=((),), together=False)


def member(name: str, repeats: int = 2, limit: float = 0.1) -> Member:
    return Member(name, (Series(tuple(range(repeats)), limit),))


def played(found: Round, speeds: dict[str, list[float]] | None = None) -> Iterator[dict[str, Turn]]:
    """Every batch of a round, each turn taken and ended."""
    while found.members:
        batch = {holder: turn for holder in "abc" if (turn := found.turn(holder))}
        yield batch
        for holder in batch:
            found.done(holder, batch[holder], speeds[holder].pop(0) if speeds else 1.0)


def test_round_changes_who_goes_first() -> None:
    found = Round({"a": member("base"), "b": member("int8")}, together=False)
    order = [(holder, turn.benchmark) for batch in played(found) for holder, turn in batch.items()]
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


@pytest.mark.parametrize(("in_company", "together"), [(95.0, True), (80.0, False)])
def test_round_gives_up_colocation_that_costs_too_much(in_company: float, together: bool) -> None:
    found = Round({"a": member("base"), "b": member("int8")}, together=True)
    speeds = {"a": [100.0, in_company, 1.0, 1.0], "b": [90.0, 1.0, 1.0]}
    alone, crowd, *repeats = played(found, speeds)
    assert list(alone) == ["a"]
    assert list(crowd) == ["a", "b"]
    assert [len(batch) for batch in repeats] == ([2, 2] if together else [1, 1, 1, 1])
    turn = next(iter(repeats[0].values()))
    assert turn.colocated == (("base", "int8") if together else ())
    assert turn.interference is not None
    assert turn.interference.loss == pytest.approx(1 - in_company / 100)


def test_cost_of_colocation_is_measured_once_for_as_many() -> None:
    seen: dict[Any, Any] = {}
    speeds = {"a": [100.0, 95.0, 1.0, 1.0], "b": [90.0, 1.0, 1.0]}
    assert len(list(played(Round({"a": member("base"), "b": member("int8")}, together=True, seen=seen), speeds))) == 4
    again = list(played(Round({"b": member("int4"), "c": member("fp8")}, together=True, seen=seen)))
    assert [len(batch) for batch in again] == [2, 2]
    assert all(turn.interference.variant == "base" for batch in again for turn in batch.values() if turn.interference)
    more = Round({name: member(name) for name in "abc"}, together=True, seen=seen)
    assert more.turn("a") == Turn(0, probe=True, number=1), "three are more than two"


def test_turn_that_is_said_to_be_done_twice_counts_once() -> None:
    found = Round({"a": member("base")}, together=False)
    first = found.turn("a")
    assert first is not None
    found.done("a", first, 1.0)
    found.done("a", first, 1.0)
    assert found.turn("a") == Turn(1, number=2)


def test_what_a_hall_knows_survives_being_written_down() -> None:
    hall = SlotAllocation({"host": TWO})
    for holder in "ab":
        hall.queue(holder, to_be_measured=True)
        hall.take(holder)
    for holder in "ab":
        hall.ready(holder, member(holder))
    turn = hall.turn("a")
    assert turn is not None
    again = pickle.loads(pickle.dumps(hall))
    assert (again.turn("a"), again.take("b")) == (turn, Slot("host", 1))


def test_round_goes_on_where_a_member_dies_in_its_turn() -> None:
    found = Round({"a": member("base"), "b": member("int8")}, together=False)
    assert found.turn("a")
    assert found.turn("b") is None
    found.drop("a")
    assert found.turn("b") == Turn(0, number=2)


def test_round_repeats_only_what_is_missing() -> None:
    series = {"a": Series((2,), 0.1), "b": Series((0, 2), 0.1)}
    found = Round({holder: Member(holder, (missing,)) for holder, missing in series.items()}, together=False)
    assert [(h, t.benchmark) for batch in played(found) for h, t in batch.items()] == [("b", 0), ("a", 2), ("b", 2)]


def test_round_goes_through_one_load_after_the_other_and_sees_for_each_what_company_costs() -> None:
    two = (Series((0, 1), 0.1), Series((2, 3), 0.1))
    found = Round({"a": Member("base", two), "b": Member("int8", two)}, together=True)
    dear, cheap = [100.0, 50.0, 1.0, 1.0], [100.0, 99.0, 1.0, 1.0]
    batches = list(played(found, {"a": dear + cheap, "b": [90.0] * 7}))
    order = [[(holder, turn.benchmark, turn.probe) for holder, turn in batch.items()] for batch in batches]
    assert order == [
        [("a", 0, True)],
        [("a", 0, True), ("b", 0, True)],
        *([("a", 0, False)], [("b", 0, False)], [("b", 1, False)], [("a", 1, False)]),
        [("a", 2, True)],
        [("a", 2, True), ("b", 2, True)],
        *([("a", 2, False), ("b", 2, False)], [("a", 3, False), ("b", 3, False)]),
    ]
    assert {turn.colocated for batch in batches[2:6] for turn in batch.values()} == {()}
    assert {turn.colocated for batch in batches[8:] for turn in batch.values()} == {("base", "int8")}


def test_load_that_only_one_member_misses_is_gone_through_alone() -> None:
    ours = Member("base", (Series((), 0.1), Series((3,), 0.1)))
    found = Round({"a": ours, "b": Member("int8", (Series((0,), 0.1), Series((), 0.1)))}, together=True)
    assert list(played(found)) == [{"b": Turn(0, number=1)}, {"a": Turn(3, number=2)}]


def test_seats_are_given_in_the_order_of_asking() -> None:
    hall = SlotAllocation({"host": TWO})
    for holder in "abc":
        hall.queue(holder, to_be_measured=False)
    assert hall.take("c") is None
    assert (hall.take("a"), hall.take("b"), hall.take("c")) == (Slot("host", 0), Slot("host", 1), None)
    assert hall.take("a") == Slot("host", 0), "asked twice, answered twice"
    hall.leave("a")
    assert hall.take("c") == Slot("host", 0)


def test_two_seats_are_given_at_once_and_a_host_is_kept_for_who_waits_for_them() -> None:
    hall = SlotAllocation({"host": TWO})
    for holder in "ab":
        hall.queue(holder, to_be_measured=False)
        assert hall.take(holder)
    hall.queue("pair", to_be_measured=True, sizes=(1, 1))
    hall.queue("c", to_be_measured=False)
    hall.leave("a")
    assert hall.take("pair") is None, "one slot is no pair of slots"
    assert hall.take("c") is None, "or small wishes would go before it for ever"
    hall.leave("b")
    assert hall.take("c") is None
    assert hall.take("pair") == Slot("host", 0, beside=1)
    assert hall.take("pair") == Slot("host", 0, beside=1), "asked twice, answered twice"
    hall.ready("pair", member("int8"))
    assert hall.turn("pair")
    hall.leave("pair")
    assert hall.take("c") == Slot("host", 0)


def test_host_that_is_kept_for_a_pair_is_measured_though_a_slot_is_free() -> None:
    hall = SlotAllocation({"host": TWO})
    hall.queue("single", to_be_measured=True)
    hall.take("single")
    hall.queue("pair", to_be_measured=True, sizes=(1, 1))
    hall.queue("other", to_be_measured=True)
    assert (hall.take("pair"), hall.take("other")) == (None, None)
    hall.ready("single", member("base"))
    assert hall.turn("single"), "the other waits behind the pair, and the pair for this one"


def test_engines_of_different_sizes_share_no_slot() -> None:
    hall = SlotAllocation({"host": FIVE})
    hall.queue("quantizer", to_be_measured=False)
    hall.queue("wide", to_be_measured=True, sizes=(3, 1))
    assert hall.take("wide") == Slot("host", 0, beside=3), "each engine by its first slot"
    assert hall.take("quantizer") == Slot("host", 4)
    hall.queue("more", to_be_measured=False)
    assert hall.take("more") is None, "all five are taken"
    hall.leave("wide")
    hall.queue("pair", to_be_measured=False, sizes=(2, 2))
    assert (hall.take("more"), hall.take("pair")) == (Slot("host", 0), None)
    hall.leave("quantizer")
    assert hall.take("pair") == Slot("host", 1, beside=3)


def test_who_waits_for_two_seats_keeps_no_more_than_one_host() -> None:
    hall = SlotAllocation({"one": TWO, "other": TWO})
    for holder in "abc":
        hall.queue(holder, to_be_measured=False)
        assert hall.take(holder)
    hall.queue("pair", to_be_measured=True, sizes=(1, 1))
    assert hall.take("pair") is None
    hall.leave("a")
    hall.leave("c")
    hall.queue("d", to_be_measured=False)
    places = {holder: hall.take(holder) for holder in ("pair", "d")}
    assert places["pair"] is not None and places["d"] is not None
    assert places["pair"].host != places["d"].host


def test_host_is_measured_without_who_waits_for_more_seats_than_it_has_free() -> None:
    hall = SlotAllocation({"host": TWO})
    hall.queue("single", to_be_measured=True)
    hall.take("single")
    hall.queue("pair", to_be_measured=True, sizes=(1, 1))
    hall.ready("single", member("base"))
    assert hall.turn("single"), "the other would be waited for in vain"


def test_round_of_one_member_with_two_engines_sees_what_company_costs() -> None:
    pair = Member("int8", (Series((0, 1), 0.1),), beside=("base",))
    batches = list(played(Round({"a": pair}, together=True), {"a": [100.0, 95.0, 1.0, 1.0]}))
    told = [(turn.probe, turn.colocated) for batch in batches for turn in batch.values()]
    both = ("int8", "base")
    assert told == [(True, ()), (True, both), (False, both), (False, both)]


def test_who_will_be_measured_goes_before_who_only_works() -> None:
    hall = SlotAllocation({"host": ONE})
    hall.queue("quantizer", to_be_measured=False)
    hall.queue("base", to_be_measured=True)
    assert hall.take("quantizer") is None
    assert hall.take("base") == Slot("host", 0)


def test_round_waits_for_those_who_work_and_lets_nobody_sit_down_meanwhile() -> None:
    hall = SlotAllocation({"host": TWO})
    for holder in "ab":
        hall.queue(holder, to_be_measured=holder == "a")
        assert hall.take(holder)
    hall.ready("a", member("base"))
    assert hall.turn("a") is None, "b still works"
    hall.leave("b")
    assert hall.turn("a") == Turn(0, number=1)
    hall.queue("c", to_be_measured=True)
    assert hall.take("c") is None, "nobody works on a host that is measured"
    while turn := hall.turn("a"):
        hall.done("a", turn, 1.0)
    assert hall.measured("a")
    assert hall.take("c")


def test_host_with_somebody_ready_takes_only_those_who_are_measured_too() -> None:
    hall = SlotAllocation({"host": TWO})
    hall.queue("a", to_be_measured=True)
    hall.take("a")
    hall.queue("quantizer", to_be_measured=False)
    hall.queue("b", to_be_measured=True)
    hall.ready("a", member("base"))
    assert hall.take("quantizer") is None
    assert hall.take("b") == Slot("host", 1)
    assert hall.turn("a") is None, "b has to be evaluated first"
    hall.ready("b", member("int8"))
    assert hall.turn("a") == Turn(0, number=1)


def test_no_node_left_is_an_error_and_not_an_endless_wait() -> None:
    hall = SlotAllocation({"host": ONE})
    hall.queue("a", to_be_measured=True)
    hall.keep_hosts([])
    with pytest.raises(RuntimeError, match="no node is left"):
        hall.take("a")


@pytest.mark.parametrize("seed", range(1000))
def test_random_variants_on_random_hosts_all_come_to_their_end(seed: int) -> None:
    """Each quantizes, then is measured, with one engine or two; some die on the way. Whoever lives is measured in
    full."""
    draw = random.Random(seed)
    hosts = {f"h{i}": draw.choice([ONE, TWO, FIVE]) for i in range(draw.randint(1, 4))}
    most = max(len(slots.engines) for slots in hosts.values())
    hall, states = SlotAllocation(hosts), {f"v{i}": "new" for i in range(draw.randint(1, 12))}
    turns: dict[str, int] = dict.fromkeys(states, 0)
    for _ in range(20_000):
        moved = False
        for name in draw.sample(sorted(states), len(states)):
            before = states[name]
            states[name] = _moved(hall, name, before, turns, draw, most)
            moved |= states[name] != before
        if set(states.values()) <= {"done", "dead"}:
            break
        assert moved or "turn" in states.values(), f"nobody moves any more: {states}"
    assert all(turns[name] == 2 for name, state in states.items() if state == "done")
    assert set(states.values()) <= {"done", "dead"}
    assert not hall.holders


def _moved(hall: SlotAllocation, name: str, state: str, turns: dict[str, int], draw: random.Random, most: int) -> str:
    if state not in ("done", "dead", "new") and draw.random() < 0.01:
        hall.leave(name)
        return "dead"
    match state:
        case "new":
            hall.queue(name, to_be_measured=False)
            return "wants to quantize"
        case "wants to quantize":
            return "quantizes" if hall.take(name) else state
        case "quantizes":
            hall.leave(name)
            first = draw.randint(1, most)
            second = draw.randint(0, most - first)
            hall.queue(name, to_be_measured=True, sizes=(first, second) if second else (first,))
            return "wants to serve"
        case "wants to serve":
            return "serves" if hall.take(name) else state
        case "serves":
            hall.ready(name, member(name))
            return "ready"
        case "ready":
            if hall.turn(name):
                return "turn"
            if hall.measured(name):
                hall.leave(name)
                return "done"
        case "turn":
            if turn := hall.turn(name):
                turns[name] += 1
                hall.done(name, turn, 1.0)
            return "ready"
    return state
