"""The search language: what is read how, and what is said of what cannot be read."""

import random
import time

import pytest

from fleet.search.errors import SearchError
from fleet.search.fields import FIELDS, STATES
from fleet.search.language import DEEPEST, LONGEST, MOST, parse
from fleet.search.tree import And, Condition, Node, Not, Or
from fleet.search.words import quoted


def shown(node: Node | None) -> str:
    """A tree in a few signs: `&` and `|` with their parts, `!`, and conditions as `field:value`."""
    match node:
        case Condition(field, operator, value):
            return f"{field.name}{operator}{value}"
        case Not(inner):
            return f"!{shown(inner)}"
        case And(parts):
            return f"&({' '.join(map(shown, parts))})"
        case Or(parts):
            return f"|({' '.join(map(shown, parts))})"
    return "everything"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", "everything"),
        ("  \t ", "everything"),
        ("arm-1", ":arm-1"),
        ("offline", "is:offline"),
        ("OFFLINE", "is:offline"),
        ('"offline"', ":offline"),
        ("arm offline", "&(:arm is:offline)"),
        ("arm and offline", "&(:arm is:offline)"),
        ("arm or cam offline", "|(:arm &(:cam is:offline))"),
        ("(arm or cam) offline", "&(|(:arm :cam) is:offline)"),
        ("arm OR cam", "|(:arm :cam)"),
        ("-arm", "!:arm"),
        ("not arm", "!:arm"),
        ("NOT -arm", "!!:arm"),
        ("-(arm cam)", "!&(&(:arm :cam))"),
        ("order nothing android", "&(:order :nothing :android)"),
        ('"or" "two words" half"way in"', "&(:or :two words :halfway in)"),
        (r'"a \"b\" \\"', ':a "b" \\'),
        ("class:mobile", "class:mobile"),
        ("CLASS:Mobile", "class:mobile"),
        ("class=mobile", "class=mobile"),
        ("class!=mobile", "!class=mobile"),
        ("state:never", "is:never"),
        ("tag:Site=Berlin tag:spare", "&(tag:site=berlin tag:spare)"),
        ('tag:site="berlin"', "tag:site=berlin"),
        ("memory<4", f"memory<{4 * 1024**3:.1f}"),
        ("memory<4GB", f"memory<{4 * 1024**3:.1f}"),
        ("ram <= 512 or memory<4gib", f"|(memory<={512 * 1024**3:.1f} memory<{4 * 1024**3:.1f})"),
        ("free<500MB", f"free<{500 * 1024**2:.1f}"),
        ("latency > 50ms", "latency>50.0"),
        ("p95>0.05s", "latency>50.0"),
        ("seen>3h", "seen>10800.0"),
        ("success<95", "success<95.0"),
        ("temperature<-5", "temperature<-5.0"),
        ("power>500mW", "power>0.5"),
        ("cores=4", "cores=4.0"),
        ("model:tabletop@3", "model:tabletop@3"),
        ("00:1b:44", ":00:1b:44"),
        ("a)b".replace(")", ""), ":ab"),
    ],
)
def test_what_is_read(text, tree):
    assert shown(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "sentence", "wrong", "instead"),
    [
        ("online clas:x", "There is no field “clas” (character 8); the nearest is class.", "clas", "class"),
        ("modl:x", "There is no field “modl” (character 1); the nearest is model.", "modl", "model"),
        (
            "site=berlin",
            "There is no field “site” (character 1); a tag is searched as tag:site=berlin, and a text as "
            "“site=berlin” in quotes.",
            "site",
            "tag:site",
        ),
        ("class:toaster", "class is embedded, mobile or edge_server, not “toaster” (character 7).", "toaster", ""),
        (
            "class:embeded",
            "class is embedded, mobile or edge_server, not “embeded” (character 7).",
            "embeded",
            "embedded",
        ),
        (
            "class<mobile",
            "class is compared with :, = or !=, not with < (character 1), as in class:embedded.",
            "<",
            ":",
        ),
        ("memory=4", "memory is compared with <, <=, > or >=, not with = (character 1), as in memory<4GB.", "=", "<"),
        (
            "memory<4parsecs",
            "memory is compared with a number of GB, not with “4parsecs” (character 8), as in memory<4GB.",
            "4parsecs",
            "",
        ),
        (
            "seen>3",
            "seen is compared with a number and its unit (s, min, h, d, w), not with “3” (character 6), as in seen>3h.",
            "3",
            "",
        ),
        ("online memory<", "A value has to follow memory<, as in memory<4GB.", "", ""),
        ("tag:", "A value has to follow tag:, as in tag:site=berlin.", "", ""),
        ("tag:site=", "A value has to follow tag:site=; tag:site asks for any.", "", ""),
        ("tag:(a)", "A value has to follow tag:, as in tag:site=berlin.", "(", ""),
        (
            "tag:a,b",
            "“a,b” (character 5) is no tag: its name has letters, digits and . - _ and begins with a letter or digit.",
            "a,b",
            "",
        ),
        (
            "model:a@b",
            "A model is searched as its name, or as name@version with a number, not as “a@b” (character 7).",
            "a@b",
            "",
        ),
        ("(arm or (cam)", "The ( at character 1 is never closed.", "(", ""),
        ("arm)", "There is no ( for the ) at character 4.", ")", ""),
        ("()", "There is nothing between ( and ).", ")", ""),
        ("(arm or )", "Something has to follow or, before the ) at character 9.", ")", ""),
        ("arm or", "Something has to follow or: a word, or a field as in class:mobile.", "", ""),
        ("not", "Something has to follow not: a word, or a field as in class:mobile.", "", ""),
        ("or arm", "“or” (character 1) stands between two conditions; before it there is none.", "or", ""),
        ("arm or or cam", "“or” (character 8) stands between two conditions; before it there is none.", "or", ""),
        ('-""', "There is nothing between the quotes (character 2).", '""', ""),
        ('name:" "', "There is nothing between the quotes (character 6).", '" "', ""),
        ('arm "two', "The quote at character 5 is never closed.", '"two', ""),
        ("arm - cam", "The - at character 5 has to stand directly before what it excludes, as in -offline.", "-", ""),
        ("a\0b", "A search cannot have control characters; character 2 is U+0000.", "\0", ""),
        ("arm \u2028", "A search cannot have control characters; character 5 is U+2028.", "\u2028", ""),
    ],
)
def test_what_cannot_be_read_is_said_and_pointed_at(text, sentence, wrong, instead):
    with pytest.raises(SearchError) as refused:
        parse(text)
    problem = refused.value
    assert str(problem) == sentence
    assert text[problem.at : problem.at + problem.length] == wrong
    assert problem.instead == instead


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        *[
            (text, True)
            for text in ("class:", "clas:", "memory<", "tag:site=", "(arm", 'name:"a', "arm or", "not", "arm -", "((")
        ],
        *[(text, False) for text in ("clas:x", "class:x", "arm)", "()", "- arm", "memory<x", "or arm", "a" * 501)],
    ],
)
def test_what_more_letters_could_make_whole_is_told_from_what_is_wrong(text, unfinished):
    with pytest.raises(SearchError) as refused:
        parse(text)
    assert refused.value.unfinished is unfinished


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x" * (LONGEST + 1), "A search has at most 500 characters, not 501."),
        ("a " * (MOST + 1), "A search has at most 40 conditions, not 41."),
        ("(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1), "go at most 10 deep"),
        ("-" * (LONGEST - 1) + "a", "go at most 10 deep"),
        ("not " * 20 + "a", "go at most 10 deep"),
    ],
)
def test_a_search_is_bounded(text, sentence):
    with pytest.raises(SearchError, match=sentence):
        parse(text)


def test_as_deep_and_as_long_as_allowed_is_read():
    assert parse("(" * DEEPEST + "a" + ")" * DEEPEST) is not None
    assert parse("a " * MOST) is not None


def test_what_a_meant_search_says_can_be_read():
    for wrong in ("clas:mobile", "site=berlin", "class:embeded", "memory=4GB"):
        with pytest.raises(SearchError) as refused:
            parse(wrong)
        problem = refused.value
        parse(f"{wrong[: problem.at]}{problem.instead}{wrong[problem.at + problem.length :]}")


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_every_example_can_be_read(field):
    assert shown(parse(field.example)).startswith(field.name)


@pytest.mark.parametrize("word", ["arm-1", "two words", 'a"b', "offline", "or", "class:x", "-a", "a\\", "(", "ünï"])
def test_a_quoted_text_is_read_as_that_text(word):
    assert shown(parse(quoted(word))) == f":{word}"


def test_garbage_is_read_or_refused_and_quickly():
    pick = random.Random(5)  # noqa: S311  # garbage, no secrets
    pieces = [
        '"',
        "(",
        ")",
        "-",
        "<",
        ">=",
        ":",
        "=",
        "!",
        "\\",
        " ",
        "or",
        "not ",
        "tag",
        "class:",
        "4GB",
        "é",
        "a",
        *STATES,
    ]
    began = time.thread_time()
    garbage = ["".join(pick.choice(pieces) for _ in range(pick.randint(1, 120)))[:LONGEST] for _ in range(2000)]
    garbage += ['"' * 499, "\\" * 499, 'a"' + "\\" * 400, "(" * 499, "a:" * 249, "<" * 499, '"a' * 249]
    for text in garbage:
        try:
            parse(text)
        except SearchError as problem:
            assert str(problem).endswith("."), text
            assert 0 <= problem.at <= len(text), text
            assert problem.at + problem.length <= len(text), text
    assert time.thread_time() - began < 20
