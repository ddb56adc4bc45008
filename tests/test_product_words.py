"""The product speaks of no particular source: none of its files has a word of the sample shop.

The words are the names of the shop's schema, tables and columns, as far as they are no common English words.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = (
    "Makefile",
    "docker-compose.airflow.yml",
    "dags",
    "plugins",
    "include/sql",
    "include/dbt/dbt_project.yml",
    "include/dbt/profiles.yml",
    "include/dbt/models/columns.md",
    "include/dbt/macros/medallion",
    "include/dbt/tests/generic/medallion",
    "include/dbt/tests/medallion",
    "include/spark_jobs",
    "stack",
    "tests/dags",
    "tests/models",
    "tests/plugins",
    "tests/spark",
    "tests/stack",
    "tests/support",
)
# In an identifier, a word ends at an underscore.
WORDS = re.compile(
    r"(?<![a-z])(?:"
    r"olist|shops?|sales|sellers?|customers?|freight|geolocation|boleto|brazil\w*|zip_code\w*|deliver(?:y|ies)"
    r"|(?<!sort_)(?<!sort )orders|order_(?:id|item|status|purchase|approved|delivered|estimated|payment|review)\w*"
    r"|products|product_\w+|reviews?|payments?"
    r")(?![a-z])",
    re.IGNORECASE,
)
ANY = WORDS.pattern
SERVICE = "the stack starts the shop's database, its login and its trading as a service"
# File -> pattern of the words that are allowed in it, and the reason.
EXCEPTIONS = {
    "Makefile": ("shop|olist|orders", "targets and variables of the demo"),
    "docker-compose.airflow.yml": ("shop|orders", SERVICE),
    "stack/demo.py": (ANY, "the demo"),
    "stack/__main__.py": ("olist|orders|shop", "options of `run` for the demo"),
    "stack/postgres/shop.sql": (ANY, SERVICE),
    "stack/postgres/cluster.sql": ("shop", SERVICE),
    "stack/postgres.py": ("shop", SERVICE),
    "stack/credentials.py": ("shop", SERVICE),
    "stack/environment.py": ("shop", SERVICE),
    "stack/scaffold/sample_files.txt": ("shop|olist", "lists the files that are the shop's"),
    "stack/settings.py": ("shop", SERVICE),
    "stack/supervisor.py": ("shop", SERVICE),
    "stack/supervisord.conf": ("shop", SERVICE),
    "stack/trino/etc/catalog/postgres.properties": ("shop", SERVICE),
    "tests/stack/test_caller.py": ("shop", SERVICE),
    "tests/stack/test_credentials.py": ("shop", SERVICE),
    "tests/stack/test_demo.py": (ANY, "the demo"),
    "tests/stack/test_docs.py": ("shop|customers", "pages name files of the shop"),
    "tests/stack/test_lifecycle.py": ("shop", SERVICE),
    "tests/stack/test_makefile.py": ("shop|olist|orders", "the shop's commands have variables"),
    "tests/stack/test_settings.py": ("shop", SERVICE),
    "tests/stack/test_without_shop.py": (ANY, "takes the shop out"),
    "tests/support/engines.py": ("shop", SERVICE),
    "tests/models/test_descriptions.py": ("shop", "describes the macros of both folders"),
    "tests/support/project_copy.py": ("shop|olist", "takes the shop out"),
    "tests/support/olist.py": (ANY, "data of the shop's tests"),
}


def product_files() -> list[Path]:
    """Return every text file of the product."""
    paths = [path for name in PRODUCT for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    return [path for path in paths if path.suffix != ".pyc" and "target" not in path.parts]


def shop_words(path: Path) -> list[str]:
    """Return the words of the shop that a file may not have, each with its line."""
    allowed, _ = EXCEPTIONS.get(str(path.relative_to(ROOT)), ("", ""))
    return [
        f"{path}:{number}: {match[0]}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in WORDS.finditer(line)
        if not re.fullmatch(allowed, match[0], re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", product_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_has_no_word_of_the_shop(path: Path) -> None:
    words = shop_words(path)
    assert not words, "\n".join(words)


@pytest.mark.parametrize("text", ["lake.gold.sales_by_day", "dim_customers", "o.order_id", "the Shop's rows"])
def test_words_of_the_shop_are_found(text: str) -> None:
    assert WORDS.search(text)


@pytest.mark.parametrize(
    "text", ["order by state", "the product's models", "production", "sort_orders()", "workshop"]
)
def test_other_words_are_not(text: str) -> None:
    assert not WORDS.search(text)
