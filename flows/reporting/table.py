"""A table of the report, as text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Headers and rows as text; a cell may have two lines."""

    name: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ("variant", "load", "task\nmetric", "required", "verdict", "notes")
    """Headers of columns that hold words, not numbers."""
    wrapped: tuple[str, ...] = ("notes",)
    """Headers of columns whose words may go on in a further line."""

    @property
    def columns(self) -> dict[str, list[str]]:
        """The cells by header, each on one line."""
        return {
            header.replace("\n", " "): [row[index].replace("\n", " ") for row in self.rows]
            for index, header in enumerate(self.headers)
        }
