from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pyarrow import RecordBatch, Schema, Table

class FileMetaData:
    num_rows: int

class ParquetFile:
    metadata: FileMetaData
    schema_arrow: Schema
    def __init__(
        self,
        source: str | Path,
        *,
        read_dictionary: list[str] | None = ...,
        pre_buffer: bool = ...,
        coerce_int96_timestamp_unit: str | None = ...,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def iter_batches(self, batch_size: int = ..., columns: list[str] | None = ...) -> Iterator[RecordBatch]: ...

def read_table(source: str | Path, columns: list[str] | None = ...) -> Table: ...
def write_table(
    table: Table,
    where: str | Path,
    row_group_size: int | None = ...,
    compression: str = ...,
    *,
    use_dictionary: bool | list[str] = ...,
    store_schema: bool = ...,
) -> None: ...
