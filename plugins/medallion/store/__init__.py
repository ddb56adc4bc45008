"""The state of the pipeline in the gold database, schema `audit`: only this package knows its SQL.

Its tables are created and changed by the migrations in `include/sql/control`. The functions take a cursor, so that
the caller decides what happens in one transaction.
"""
