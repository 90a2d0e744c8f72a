# SPDX-License-Identifier: MIT
# What is used of peewee, which has no type information.

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

class PeeweeException(Exception): ...  # noqa: N818 # as it is called

class SqliteDatabase:
    def atomic(self) -> AbstractContextManager[object]: ...
    def close(self) -> object: ...
    def execute_sql(self, sql: str, params: Sequence[object] = ()) -> Iterable[Any]: ...
    def pragma(self, key: str, value: int, permanent: bool) -> object: ...
