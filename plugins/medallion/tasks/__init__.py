"""The operators and hooks that the DAG files import."""
