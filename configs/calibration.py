"""The text that calibration sees."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from configs import json_lines
from configs.base import REVISION, Seed, Settings, SoundPath
from configs.scheme_base import Calibrated, SchemeBase
from configs.yaml_files import Malformed

_NO_TEXT = {".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".pdf"}
"""Endings of files that hold texts in another form than a text file."""


class LocalText(Settings):
    """A .txt file, or a .jsonl file with a `text` field or a `messages` list on each line.

    Messages are rendered with the model's own chat template.
    """

    kind: Literal["local"]
    path: SoundPath
    """The file."""

    def documents(self) -> Iterator[Any]:
        """The texts and chats of a .jsonl file, or the text of any other one as a single document.

        Raises:
            Malformed: it is neither, or a row has no text.
        """
        if self.path.suffix == ".jsonl":
            for number, row in json_lines.rows(self.path):
                yield _document(number, row)
        elif self.path.suffix in _NO_TEXT:
            raise Malformed(f"ends in {self.path.suffix!r}; give a UTF-8 text file, .txt or .jsonl")
        else:
            try:
                text = self.path.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise Malformed(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
            if "\0" in text:
                raise Malformed("is not text (it contains NUL characters); give .txt or .jsonl")
            if text.strip():
                yield text


def _document(number: int, row: dict[str, Any]) -> Any:
    """The chat of a row, or its text."""
    chat = row.get("messages")
    if isinstance(chat, list) and chat and all(map(_is_message, chat)):
        return chat
    text = row.get("text")
    if "messages" not in row and isinstance(text, str) and text.strip():
        return text
    raise Malformed(
        f"line {number} has no usable `text` or `messages`; give a text that is not empty, or a list of messages "
        "with role and content"
    )


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return isinstance(content, str | list) or (content is None and "tool_calls" in message)


class HubDataset(Settings):
    """A data set on the Hugging Face hub, read in its own order before the seeded choice."""

    kind: Literal["hub"]
    dataset: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", description="NAME or OWNER/NAME")
    subset: str | None = None
    """The data set's configuration, if it has several."""
    split: str = "train"
    """The split of the data set."""
    field: str = "text"
    """The column that holds a text, or a list of chat messages."""
    revision: str = Field(default="main", pattern=REVISION, max_length=200)
    """A branch, a tag or a commit. The record has the commit that was used."""


class Calibration(Settings):
    """The calibration set: `samples` sequences of `sequence_length` tokens, chosen by `seed`.

    `packed` joins all texts and cuts windows of exactly that length; otherwise each sample is one
    text, cut at that length.
    """

    source: Annotated[LocalText | HubDataset, Field(discriminator="kind")]
    """Source of its text."""
    samples: int = Field(default=512, ge=1, le=10_000_000)
    """Number of texts, or of windows of them."""
    sequence_length: int = Field(default=1024, ge=8, le=10_000_000)
    """Most tokens of each."""
    packed: bool = True
    """Whether texts are joined and cut into windows of exactly `sequence_length` tokens."""
    seed: Seed = 42
    """Seed of the choice among the source's texts."""

    def for_scheme(self, scheme: SchemeBase) -> Self:
        """The set that one scheme sees: with its own number of samples where it gives one."""
        own = scheme.calibration_samples if isinstance(scheme, Calibrated) else None
        return self.model_copy(update={"samples": own or self.samples})
