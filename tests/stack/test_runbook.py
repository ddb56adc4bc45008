"""Every message that the runbook quotes is a message of the code."""

import ast
import re
from collections.abc import Iterator

import pytest

from stack.settings import ROOT
from test_language import read_string, template_strings

pytestmark = pytest.mark.skipif(
    not (ROOT / "sample").exists(), reason="the runbook quotes messages of the sample"
)
FOLDERS = ("plugins", "include/spark_jobs", "include/dbt/macros", "sample", "stack")
# Messages of PostgreSQL, Trino, dbt and pydantic, which are not in our code.
FOREIGN = {
    'relation "gold.…" does not exist',
    "Table 'lake.silver.quarantine' does not exist",
    "invalid input syntax for type boolean",
    "Query exceeded … memory limit",
    "Got 3 results, configured to fail 0",
    "STACK_SOURCE_URL: …",
}
MESSAGE = re.compile(r"^Message\b[^:`]*:(.*?)\n\n", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)


def quoted_messages() -> list[str]:
    """Return the messages that the runbook explains, from its paragraphs and from the first column of its tables."""
    page = (ROOT / "docs" / "runbook.md").read_text()
    rows = [row for table in TABLE.findall(page) for row in table.splitlines()]
    texts = MESSAGE.findall(page) + [row.split(" | ")[0] for row in rows]
    return [" ".join(code.split()) for text in texts for code in re.findall(r"`([^`]+)`", text)]


def python_messages(source: str) -> Iterator[str]:
    """Yield the strings of a module, with `…` for each value that they format."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            yield read_string(node)


@pytest.fixture(scope="module")
def messages() -> str:
    """Return every string that the code may show, one a line and without backticks."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    readers = {".py": python_messages, ".sql": lambda source: (text for _, text in template_strings(source))}
    texts = [text for path in files if (read := readers.get(path.suffix)) for text in read(path.read_text())]
    return "\n".join(" ".join(text.replace("`", "").split()) for text in texts)


@pytest.mark.parametrize("message", quoted_messages())
def test_quoted_message_is_one_of_the_code(messages: str, message: str) -> None:
    pattern = ".*".join(re.escape(part.strip()) for part in message.split("…"))
    assert message in FOREIGN or re.search(pattern, messages), message
