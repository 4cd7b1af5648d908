"""The coordinator's answers to several who ask at once; its slots are `actors.placement.allocation`'s, its memory is
left out."""

import asyncio
from typing import Any

import pytest

from actors.placement import coordinator
from actors.placement.allocation import Slot
from actors.placement.coordinator import Coordinator
from actors.placement.slots import DeviceSlots

ONE_SEAT = DeviceSlots(engines=((0,),), clients=((1,),), together=False)
THE_SEAT = Slot("host", 0)
FIRST, SECOND = ("tiny", "base"), ("tiny", "fp8-dynamic")


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[bytes, bytes] = {}
    monkeypatch.setattr(coordinator.internal_kv, "_internal_kv_get", lambda key, **_: kept.get(key))
    monkeypatch.setattr(coordinator.internal_kv, "_internal_kv_put", lambda key, state, **_: kept.update({key: state}))
    monkeypatch.setattr(coordinator, "_living", lambda: ({"first", "second"}, {"host"}))


async def _both_asked() -> tuple[Coordinator, "asyncio.Task[Slot]"]:
    """The first works on the only slot, the second waits to work there."""
    conducting = Coordinator()
    await conducting.open(["host"], ONE_SEAT)
    assert await conducting.take("first", FIRST, to_be_measured=False, sizes=(1,)) == THE_SEAT
    second = asyncio.ensure_future(conducting.take("second", SECOND, to_be_measured=False, sizes=(1,)))
    await asyncio.sleep(0.05)
    return conducting, second


def _played(scene: Any) -> None:
    asyncio.run(asyncio.wait_for(scene(), timeout=10))


def test_whoever_leaves_lets_the_next_in() -> None:
    async def scene() -> None:
        conducting, second = await _both_asked()
        await conducting.leave("first")
        assert await second == THE_SEAT

    _played(scene)


def test_whoever_waits_is_told_for_whom() -> None:
    async def scene() -> None:
        conducting, second = await _both_asked()
        assert await conducting.occupants() == [FIRST]
        await conducting.leave("first")
        await second
        assert await conducting.occupants() == [SECOND]

    _played(scene)


def test_whoever_is_measured_next_comes_before_others_that_only_work() -> None:
    async def scene() -> None:
        conducting, second = await _both_asked()
        await conducting.leave("first", to_be_measured_next=True)
        await asyncio.sleep(0.05)
        assert not second.done()
        assert await conducting.take("first", FIRST, to_be_measured=True, sizes=(1,)) == THE_SEAT
        await conducting.leave("first")
        assert await second == THE_SEAT

    _played(scene)


def test_whoever_was_to_be_measured_next_and_goes_away_is_waited_for_no_longer() -> None:
    async def scene() -> None:
        conducting, second = await _both_asked()
        await conducting.leave("first", to_be_measured_next=True)
        await conducting.leave("first")
        assert await second == THE_SEAT

    _played(scene)
