"""Every message on the wire against its golden sample file.

A file names the message, bodies that are taken (and come out as they went in), and bodies that are refused, each with
what the refusal has to name.
"""

import json
from pathlib import Path

import msgspec
import pytest

from agent.wire import codec, messages
from agent.wire.manifest import Manifest

FILES = sorted(Path(__file__).parent.joinpath("samples").glob("*.json"))
KINDS: dict[str, type] = {"Manifest": Manifest} | {
    name: kind
    for name, kind in vars(messages).items()
    if isinstance(kind, type) and issubclass(kind, messages.Message) and kind is not messages.Message
}
#: Only ever part of another message.
NESTED = {
    *(
        "Active",
        "Budgets",
        "Runtime",
        "Restraint",
        "Over",
        "Stages",
        "Sample",
        "WantPart",
        "Config",
        "Benchmark",
        "Link",
    ),
}


def _cases(side: str) -> list[object]:
    return [
        pytest.param(KINDS[sample["message"]], case, id=f"{sample['message']}: {words}")
        for sample in map(json.loads, (path.read_text() for path in FILES))
        for words, case in sample[side].items()
    ]


def test_every_message_has_a_sample_file():
    assert {json.loads(path.read_text())["message"] for path in FILES} == set(KINDS) - NESTED


@pytest.mark.parametrize(("kind", "body"), _cases("accepted"))
def test_a_good_body_comes_out_as_it_went_in(kind, body):
    decoded = codec.decode(json.dumps(body).encode(), kind)

    assert msgspec.json.decode(codec.encode(decoded)) == body


@pytest.mark.parametrize(("kind", "body"), _cases("accepted"))
def test_fields_of_a_later_version_are_ignored(kind, body):
    later = {**body, "a_field_of_tomorrow": {"x": [1, 2, 3]}}

    assert codec.decode(json.dumps(later).encode(), kind) == codec.decode(json.dumps(body).encode(), kind)


@pytest.mark.parametrize(("kind", "case"), _cases("refused"))
def test_a_bad_body_is_refused_and_the_refusal_names_the_field(kind, case):
    with pytest.raises(codec.WireError) as refusal:
        codec.decode(json.dumps(case["body"]).encode(), kind)

    assert case["names"] in str(refusal.value)
