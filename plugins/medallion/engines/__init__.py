"""Access to PostgreSQL, Iceberg and Trino, without any knowledge of runs."""
