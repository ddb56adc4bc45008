"""A PostgreSQL server with a database for the shop."""

from contextlib import closing

import psycopg2
import pytest

from support.postgres import Query, Server, query


@pytest.fixture(scope="session")
def server(postgres: Server) -> Server:
    """A PostgreSQL server with the database `shop` and the roles `shop` and `source_reader`."""
    with closing(psycopg2.connect(postgres.url())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("create role shop login")
        cursor.execute("create role source_reader login")
        cursor.execute("create database shop owner shop")
    return postgres


@pytest.fixture
def shop(server: Server, monkeypatch: pytest.MonkeyPatch) -> Query:
    """An empty database for the shop, whose URL is in SOURCE_URL.

    The value is a function that runs a statement in this database and returns its rows.
    """
    url = server.url("shop", "shop")
    monkeypatch.setenv("SOURCE_URL", url)
    query(url, "drop schema if exists sales cascade")
    return lambda statement, parameters=None: query(url, statement, parameters)
