"""What somebody types is stored as it is, or refused with a sentence."""

import pytest

from fleet import text
from fleet.errors import Refused


@pytest.mark.parametrize("given", ["arm-1", "Bänke in Halle 3", "<script>", "ロボット", "👩🏽‍🔧"])
def test_every_script_is_a_name(given):
    assert text.line(f"  {given} ", "A name", 128) == given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a\0b", "A name cannot have control characters; this has U+0000."),
        ("two\nlines", "A name cannot have control characters; this has U+000A."),
        ("red \x1b[31m", "A name cannot have control characters; this has U+001B."),
        ("half \ud83d", "A name cannot have control characters; this has U+D83D."),
        ("para\u2029graph", "A name cannot have control characters; this has U+2029."),
        ("x" * 129, "A name has at most 128 characters, not 129."),
        ("  ", "Give it a name."),
    ],
)
def test_what_cannot_be_shown_in_one_line_is_refused(given, said):
    with pytest.raises(Refused) as problem:
        text.line(given, "A name", 128, "Give it a name.")
    assert str(problem.value) == said


def test_notes_have_lines_but_nothing_else_that_is_invisible():
    assert text.notes(" one\r\n\ttwo ", "Notes", 100) == "one\r\n\ttwo"
    with pytest.raises(Refused, match=r"Notes cannot have control characters; this has U\+0000\."):
        text.notes("one\n\0", "Notes", 100)


@pytest.mark.parametrize(
    ("given", "made"), [("Hall A", "hall-a"), ("  hall   a ", "hall-a"), ("hall_a-2", "hall_a-2"), ("3", "3")]
)
def test_a_name_for_addresses_loses_case_and_spaces_only(given, made):
    assert text.slug(given, "A group's name") == made


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("<script>", "has letters from a to z, digits, - and _ only; leave out < >."),
        ("a/b", "has letters from a to z, digits, - and _ only; leave out /."),
        ("Halle Süd", "has letters from a to z, digits, - and _ only; leave out ü."),
        ("-hall-", "begins and ends with a letter or a digit."),
        ("***", "needs at least one letter or digit."),
        ("a\0b", "cannot have control characters; this has U+0000."),
        ("x" * 65, "has at most 64 characters, not 65."),
    ],
)
def test_a_name_for_addresses_that_would_be_altered_is_refused(given, said):
    with pytest.raises(Refused) as problem:
        text.slug(given, "A group's name")
    assert str(problem.value) == f"A group's name {said}"
