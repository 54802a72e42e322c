"""Sentences are found in the source as somebody will read them."""

from textwrap import dedent

import pytest

from fleet.dashboard.gathering import counted, sentences


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('f"{device.name} was retired"', ["{0} was retired"]),
        ('f"{len(ids):,} device{"" if len(ids) == 1 else "s"} joined"'.replace('""', "''").replace('"s"', "'s'"),
         ["{0:n} devices joined", "{0:n} device joined"]),
        ('f"{rule} was turned {\'on\' if enabled else \'off\'}"', ["{0} was turned on", "{0} was turned off"]),
        ('f"{name}{more} failed"', ["{0} failed"]),
        ('f"since {at:%H:%M}: {words or \'nothing\'}"', ["since {0}: {1}", "nothing"]),
        ('Condition("temperature", "Temperature", "is at {}")', ["Temperature", "is at {0}"]),
        ('STATES = (("queued", "queued"), ("sent", "sent off"))', ["queued", "sent off"]),
        ('class Mode(StrEnum):\n    FULL = "full"', ["full"]),
        ('class Role(IntEnum):\n    VIEWER = 1', ["viewer"]),
        ('f"It needs {lacking} more key(s), named {names}."', ["It needs {0} more key(s), named {1}."]),
        ('log.warning("the broker lost %s", it)\nlog.info("it is back again")', []),
        ('"""A docstring of words."""\nre.compile("two words")\nrow.get("two words")', []),
        ('cursor.execute("SELECT one thing")', []),
    ],
)  # fmt: skip
def test_what_reads_like_words_is_taken(source, found):
    assert sorted(sentences(dedent(source))) == sorted(found)


def test_what_is_counted_has_both_forms(tmp_path):
    page, module = tmp_path / "page.html", tmp_path / "module.py"
    page.write_text('{{ n|plural:"battery,batteries" }}')
    module.write_text('plural(n, "device")')
    assert list(counted(page)) == ["{0:n} battery", "{0:n} batteries"]
    assert list(counted(module)) == ["{0:n} device", "{0:n} devices"]
