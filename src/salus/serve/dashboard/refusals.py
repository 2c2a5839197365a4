"""What a page is not shown for, in words for the person before it."""

from __future__ import annotations


class LoginNeeded(Exception):  # noqa: N818 - it is no error
    """Nobody is signed in."""


class Refused(Exception):  # noqa: N818 - it is no error of the service
    """A page is not shown.

    Args:
        status: of HTTP.
        title: the reason in a few words.
        sentence: it in full, with the remedy.
        wait: seconds after which it may be tried again; 0 where that changes nothing.
    """

    def __init__(self, status: int, title: str, sentence: str, wait: int = 0) -> None:
        super().__init__(sentence)
        self.status = status
        self.title = title
        self.sentence = sentence
        self.wait = wait
