"""datasets: a column of a hub's data set, and the commit that a data set's files are of.

A name on the hub is whatever its owner makes of it. So data are identified by their commit, by which the library names
the folder of its cache that it reads from: OWNER___NAME/SUBSET/VERSION/COMMIT.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import offline

_COMMIT = re.compile(r"[0-9a-f]{40}")


def column(dataset: str, subset: str | None, split: str, field: str, revision: str) -> tuple[list[Any], str | None]:
    """A column without its empty rows, and the data set's commit; None where the library does not say.

    Args:
        revision: a branch, a tag or a commit. Offline, what is in the cache is taken.
    """
    from datasets import load_dataset

    data = load_dataset(dataset, subset, split=split, **({} if offline.is_set() else {"revision": revision}))
    return [row for row in data[field] if row], commit({split: data})


def commit(splits: Mapping[str, Any] | None) -> str | None:
    """The commit of the hub that some splits are of, by their names; None of local files, or of several commits."""
    folders = {Path(file["filename"]).parent.name for one in (splits or {}).values() for file in one.cache_files}
    folder = folders.pop() if len(folders) == 1 else ""
    return folder if _COMMIT.fullmatch(folder) else None
