"""Publish a variant's checkpoint, with its model card, to a repository of a hub.

The command alone uploads nothing: it says what it would upload. `--yes` uploads it,
into a private repository unless it exists already or `--public` is given.
"""

import os
import re
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich import filesize
from rich.console import Console

from configs import offline
from configs.base import UserError
from configs.experiment import BASE
from flows.deploying import card
from flows.deploying.candidate import Candidate, check_files
from flows.planning import hub
from flows.runtime.errors import StepFailed
from flows.tracking import registry
from flows.tracking.client import missed_by, out_of_reach

_CARD = "README.md"


@dataclass(frozen=True)
class Publication:
    """What is to lie in the repository afterwards."""

    candidate: Candidate
    repository: str
    """OWNER/NAME."""
    public: bool
    """Of a repository that does not exist yet."""

    @property
    def files(self) -> list[Path]:
        """The checkpoint's, but for a card of the model that it was made from."""
        return [file for file in sorted(self.candidate.folder.iterdir()) if file.is_file() and file.name != _CARD]

    @cached_property
    def card(self) -> bytes:
        return card.published(self.candidate, self.repository).encode()


def publish(publication: Publication, console: Console, *, really: bool) -> bool:
    """Say what would be uploaded or, where `really` is set, upload it in one commit and record it.

    Returns:
        whether that went well; if not, the console says why.

    Raises:
        UserError: it cannot be uploaded.
    """
    _check(publication, really=really)
    check_files(publication.candidate)
    sizes = {file.name: file.stat().st_size for file in publication.files} | {
        f"{_CARD}, the model card": len(publication.card)
    }
    for name, size in sizes.items():
        console.print(f"{filesize.decimal(size):>10}  {name}", markup=False, highlight=False)
    address = f"{hub.endpoint()}/{publication.repository}"
    if not really:
        console.print(f"nothing was uploaded; add --yes to upload this to {address}", soft_wrap=True, highlight=False)
        return True
    try:
        commit = _uploaded(publication)
    except StepFailed as failure:
        console.print(f"not published: {failure}", markup=False, highlight=False, soft_wrap=True)
        return False
    _record(publication, address, commit)
    console.print(
        f"published {publication.candidate.variant} at {address}, commit {commit}", soft_wrap=True, highlight=False
    )
    return True


def _check(publication: Publication, *, really: bool) -> None:
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", publication.repository):
        raise UserError(
            f"--repository {publication.repository}: is not OWNER/NAME of letters, digits, '-', '_' and '.'"
        )
    if publication.candidate.variant == BASE:
        raise UserError(
            "--variant base: is the original model, which is published already; choose a compressed variant"
        )
    if really and offline.is_set():
        raise UserError("publish: HF_HUB_OFFLINE is set; unset it, or copy the checkpoint by hand")
    if really and hub.token() is None:
        raise UserError(f"HF_TOKEN: missing; set it to a token with write access to {hub.endpoint()}")


def _uploaded(publication: Publication) -> str:
    """Upload in one commit, so that a reader sees all of it or nothing; return the commit's id."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=hub.endpoint(), token=hub.token())
    added = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in publication.files]
    added.append(CommitOperationAdd(path_in_repo=_CARD, path_or_fileobj=publication.card))
    message = f"{publication.candidate.variant} of {publication.candidate.run.plan.experiment.model.label}"
    try:
        api.create_repo(publication.repository, private=not publication.public, exist_ok=True)
        done = api.create_commit(publication.repository, added, commit_message=message)
    except HfHubHTTPError as error:
        code = error.response.status_code
        hint = "; check that the token may write there" if code in (401, 403) else ""
        raise StepFailed(f"{hub.endpoint()} answered {code}: {_first_line(error)}{hint}") from None
    except OSError as error:
        raise StepFailed(f"{hub.endpoint()} is out of reach: {_first_line(error)}") from None
    return str(done.oid)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _record(publication: Publication, address: str, commit: str) -> None:
    run, variant = publication.candidate.run, publication.candidate.variant
    record = {
        "variant": variant,
        "place": address,
        "commit": commit,
        "at": time.time(),
        "checkpoint": publication.candidate.checkpoint.fingerprint,
        "files": publication.candidate.checkpoint.result.files,
    }
    run.store.keep(run.plan.experiment.name, f"published-{variant}.json", record)
    with out_of_reach(missed_by(run)):
        registry.published(run.plan.experiment, publication.candidate.checkpoint.fingerprint, address, commit)
