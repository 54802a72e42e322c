"""A table as CSV, and as Parquet where pyarrow is installed: block by block."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from typing import Any

from fleet.dashboard.export.table import Column, Table, Value

#: What a spreadsheet takes for the beginning of a formula, also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_blocks(table: Table[Any]) -> Iterator[bytes]:
    """RFC 4180, UTF-8. Times are UTC in ISO 8601; what is not known is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(table.header)
    for block in table.blocks:
        writer.writerows([_cell(column, column.value(row)) for column in table.columns] for row in block)
        yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return data


def _cell(column: Column[Any], value: Value) -> Value:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    return harmless(value) if isinstance(value, str) and column.kind == "text" else value


def harmless(text: str) -> str:
    """A text that a spreadsheet would compute is one with an apostrophe before it, as a person would type it."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


class _Sink(io.RawIOBase):
    """Takes what pyarrow writes until it is asked for it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def taken(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


def parquet_blocks(table: Table[Any]) -> Iterator[bytes]:
    """A row group for each block."""
    import pyarrow
    from pyarrow import parquet

    kinds = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "count": pyarrow.int64(),
        "flag": pyarrow.bool_(),
        "time": pyarrow.timestamp("ms", tz="UTC"),
    }
    schema = pyarrow.schema([(column.name, kinds[column.kind]) for column in table.columns])
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for block in table.blocks:
            columns = [[column.value(row) for row in block] for column in table.columns]
            arrays = [pyarrow.array(values, each.type) for values, each in zip(columns, schema, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


#: Ending of the file → its media type, and what writes it.
FORMATS: dict[str, tuple[str, Callable[[Table[Any]], Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", csv_blocks),
    "parquet": ("application/vnd.apache.parquet", parquet_blocks),
}


@cache
def offered() -> list[str]:
    return ["csv", "parquet"] if find_spec("pyarrow") else ["csv"]
