"""What the hub tells of a model before it is fetched: the size of its weights, its card's metadata."""

import json
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from configs import offline
from flows.planning import hub


@cache
def told(repository: str, revision: str) -> Any:
    """All that the hub tells of a model; None where it does not, or HF_HUB_OFFLINE is set."""
    if offline.is_set():
        return None
    try:
        with hub.opened(
            f"{hub.endpoint()}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
        ) as answer:
            return json.load(answer)
    except (OSError, ValueError, HTTPException):
        return None


def model_bytes(repository: str, revision: str) -> int | None:
    """Size of a model's safetensors files, as the hub tells it; None where it does not."""
    try:
        files = told(repository, revision)["siblings"]
        return sum(file["size"] for file in files if file["rfilename"].endswith(".safetensors")) or None
    except (KeyError, TypeError, AttributeError):
        return None


def card(repository: str, revision: str) -> dict[str, Any] | None:
    """The metadata of a model's card, empty where it has none; None where the hub does not tell."""
    answer = told(repository, revision)
    if not isinstance(answer, dict):
        return None
    return head if isinstance(head := answer.get("cardData"), dict) else {}
