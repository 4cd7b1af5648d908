"""Which commit a data set is told to be of, by the folder of the cache that it is read from."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.engines import hub_datasets

pytestmark = pytest.mark.fast
COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


def split(*folders: str) -> Any:
    return SimpleNamespace(cache_files=[{"filename": f"/cache/an___owner/all/0.0.0/{one}/x.arrow"} for one in folders])


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        ({"train": split(COMMIT), "test": split(COMMIT, COMMIT)}, COMMIT),
        ({"train": split(COMMIT), "test": split(OTHER)}, None),
        ({"test": split("a" * 64)}, None),
        ({"test": split()}, None),
        ({}, None),
        (None, None),
    ],
)
def test_commit_is_the_one_folder_of_all_splits(splits: Any, told: str | None) -> None:
    assert hub_datasets.commit(splits) == told
