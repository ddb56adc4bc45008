"""The schema of the store: numbered migrations, applied by Alembic."""

from functools import partial
from typing import cast

from medallion.engines.postgres import Cursor, configure, connect, gold_settings, render_sql, transaction
from medallion.names import GOLD_SCHEMA, STAGING_SCHEMA, STATE_SCHEMA
from medallion.settings import GOLD_CONNECTION, SQL

CONTROL = SQL / "control"
VERSION_TABLE = "schema_version"
LOCK = "select pg_advisory_xact_lock(hashtext('medallion audit tables'))"


def latest_version() -> str:
    """Return the number of the newest migration."""
    return max(path.name.partition("_")[0] for path in (CONTROL / "versions").glob("[0-9]*.py"))


def read_version() -> tuple[str, bool]:
    """Return the number of the last migration ('' before the first), and whether gold and staging are there.

    Gold may be missing after migrations, too: people may drop it as a whole, and the next run publishes it again.
    """
    with transaction() as cursor:
        cursor.execute(
            """
            select
                to_regclass(%s) is not null as has_version,
                to_regclass(%s) is not null and to_regnamespace(%s) is not null as has_gold
            """,
            (f"{STATE_SCHEMA}.{VERSION_TABLE}", f"{GOLD_SCHEMA}.publication", STAGING_SCHEMA),
        )
        [present] = cursor.fetchall()
        if not present.has_version:
            return "", present.has_gold
        cursor.execute(f"select version_num from {STATE_SCHEMA}.{VERSION_TABLE}".encode())
        row = cursor.fetchone()
        return (str(row.version_num) if row else ""), present.has_gold


def upgrade_store() -> None:
    """Create the store, or bring it to the newest version; sends two queries if there is nothing to do.

    All migrations that are due run in one transaction. A store of a newer version than this code is left unchanged.
    The schemas of gold and staging are created again if they are gone.
    """
    version, has_gold = read_version()
    if version >= latest_version() and has_gold:
        return
    with transaction() as cursor:
        # Two runs may begin at once. Without the lock both could create the same object, despite "if not exists".
        cursor.execute(LOCK.encode())
        cursor.execute(render_sql("control/schemas.sql"))
        cursor.execute(render_sql("control/publication.sql"))
    if version < latest_version():
        apply_migrations()


def apply_migrations() -> None:
    """Apply the migrations that are due, in one transaction."""
    # The imports take a second, which most runs can save.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import NullPool, create_engine

    engine = create_engine(
        "postgresql+psycopg://", creator=partial(connect, GOLD_CONNECTION), poolclass=NullPool
    )
    with engine.begin() as connection:
        configure(cast("Cursor", connection.connection.cursor()), gold_settings())
        connection.exec_driver_sql(LOCK)
        config = Config()
        config.set_main_option("script_location", str(CONTROL))
        config.attributes.update(
            connection=connection, version_table=VERSION_TABLE, version_table_schema=STATE_SCHEMA
        )
        command.upgrade(config, "head")
