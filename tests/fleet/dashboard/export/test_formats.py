"""A table as a file: what a spreadsheet, a script and a data frame read of it."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest

from fleet.dashboard.export import formats
from fleet.dashboard.export.table import Table, count, flag, number, text, time

AT = datetime(2026, 3, 1, 13, 30, 5, 250_000, tzinfo=timezone(timedelta(hours=1)))
COLUMNS = (
    text("name", lambda row: row[0]),
    number("latency_p95_ms", lambda row: row[1]),
    count("errors", lambda row: row[2]),
    flag("simulated", lambda row: row[3]),
    time("last_seen", lambda row: row[4]),
)
ROWS = [("arm, “left”\nof two", -1.5, 3, True, AT), ("cam", None, None, False, None)]


def table(rows, block: int = 1000) -> Table:
    return Table("devices", COLUMNS, iter([rows[start : start + block] for start in range(0, len(rows), block)]))


def read(rows) -> list[dict[str, str]]:
    data = b"".join(formats.csv_blocks(table(rows)))
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_csv_says_what_there_is_with_units_in_its_header_and_times_in_utc():
    assert read(ROWS) == [
        {
            "name": "arm, “left”\nof two",
            "latency_p95_ms": "-1.5",
            "errors": "3",
            "simulated": "true",
            "last_seen": "2026-03-01T12:30:05.250Z",
        },
        {"name": "cam", "latency_p95_ms": "", "errors": "", "simulated": "false", "last_seen": ""},
    ]


@pytest.mark.parametrize(
    "hostile", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "\uff1d1", '=HYPERLINK("x")']
)
def test_no_text_is_a_formula(hostile):
    assert read([(hostile, 1, 1, True, AT)])[0]["name"] == f"'{hostile}"


@pytest.mark.parametrize("harmless", ["arm-1", "a=b", "", "1-2", "'quoted'"])
def test_other_texts_stay_as_they_are(harmless):
    assert read([(harmless, 1, 1, True, AT)])[0]["name"] == harmless


def test_a_block_is_written_before_the_next_is_read():
    asked = []

    def blocks():
        for place in range(3):
            asked.append(place)
            yield [(str(place), 1, 1, True, AT)]

    written = formats.csv_blocks(Table("devices", COLUMNS, blocks()))
    assert b"0,1,1" in next(written)
    assert asked == [0]


def test_an_empty_table_has_a_header():
    assert b"".join(formats.csv_blocks(table([]))).strip() == b"name,latency_p95_ms,errors,simulated,last_seen"


def test_parquet_has_the_same_with_types():
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional, and not installed here")
    data = b"".join(formats.parquet_blocks(table([*ROWS, ("=1", 2.0, 0, False, AT)], block=2)))
    read = parquet.read_table(io.BytesIO(data))
    assert [str(field.type) for field in read.schema] == ["string", "double", "int64", "bool", "timestamp[ms, tz=UTC]"]
    assert read.column("name").to_pylist() == [ROWS[0][0], "cam", "=1"], "no spreadsheet reads it"
    assert read.column("latency_p95_ms").to_pylist() == [-1.5, None, 2.0]
    assert read.column("last_seen").to_pylist()[0] == AT.astimezone(UTC)
