"""Django's SQLite backend, told how many values one statement of this SQLite really takes.

Django 5.2 counts with 999, the limit of SQLite before 3.32: ten thousand rows would be hundreds of statements.
"""

import sqlite3
from functools import cached_property

from django.db.backends.sqlite3 import base, features

#: A statement has a length too (1,000,000 bytes by default), and each value takes some three of them.
MOST = 100_000


class DatabaseFeatures(features.DatabaseFeatures):
    @cached_property
    def max_query_params(self) -> int:
        self.connection.ensure_connection()
        return min(MOST, self.connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
