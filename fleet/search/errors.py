"""What is wrong with a search, and where."""

from fleet.errors import Refused


class SearchError(Refused):
    """The text is a sentence. `at` and `length` are the place in the search that it is about, in characters from 0;
    `instead` is what could stand there, as far as that can be guessed. `unfinished`: more of it could make it whole, so
    somebody who is typing need not be told yet."""

    def __init__(self, sentence: str, at: int, length: int = 0, instead: str = "", unfinished: bool = False) -> None:
        super().__init__(sentence)
        self.at = at
        self.length = length
        self.instead = instead
        self.unfinished = unfinished


def place(at: int) -> str:
    """For a sentence: people count from 1."""
    return f"character {at + 1}"
