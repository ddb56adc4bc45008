"""Secrets of the stack: generated at the first start, kept in `.stack/secrets.env`, readable only by the owner."""

import base64
import os
import secrets
from pathlib import Path

from dotenv import dotenv_values

PASSWORDS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "LAKE_PASSWORD",
    "SHOP_PASSWORD",
    "SOURCE_READER_PASSWORD",
    "PUBLISHER_PASSWORD",
    "BI_READER_PASSWORD",
    "AIRFLOW_PASSWORD",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__SECRET_KEY",
)
FERNET_KEY = "AIRFLOW__CORE__FERNET_KEY"


def write_private(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in one step; its mode is 0600 from the first byte on."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def credentials(path: Path) -> dict[str, str]:
    """Return the secrets of `path` by environment variable; generate and store the missing ones."""
    known = {name: value for name, value in dotenv_values(path).items() if value}
    missing = {name: secrets.token_hex(24) for name in PASSWORDS if name not in known}
    if FERNET_KEY not in known:
        missing[FERNET_KEY] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    if missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, "".join(f"{name}={value}\n" for name, value in {**known, **missing}.items()))
    return {**known, **missing}
