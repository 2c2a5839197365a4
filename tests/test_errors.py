"""Messages: one line each, of a length that people read."""

from __future__ import annotations

from salus.errors import DataError, nearest


def test_a_message_is_one_line_whatever_the_names_in_it() -> None:
    assert str(DataError("There is no class 'a\nb\x00'.")) == r"There is no class 'a\nb\x00'."


def test_a_message_about_a_long_word_keeps_its_beginning_and_its_end() -> None:
    message = str(DataError(f"Column 'x' holds '{'a' * 10**6}', which is no number."))
    assert message.startswith("Column 'x' holds 'aaa") and message.endswith("aaa', which is no number.")
    assert len(message) < 1600


def test_of_many_known_names_the_count_is_given() -> None:
    assert nearest("agee", ["age", "sex"]) == "did you mean 'age'?"
    assert nearest("agee", map(str, range(5000))) == "known are 5000 others."
