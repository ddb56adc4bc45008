"""The rules of language in CONTRIBUTING.md that a machine can hold: openings of sentences, and words.

They hold for comments, docstrings, messages and Markdown. `python tests/test_language.py FILE…` prints the findings of
some files.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPPED = {"LICENSE", "requirements.txt", "requirements-dev.txt"}
QUESTION = r"(?! (?:is|are|does|do|happens)\b[^.]*\?)"
OPENING = "a sentence needs its subject: write the noun"
# Pattern of words that a text should not have: the better ones.
RULES = {
    rf"(?:^|(?<=[.!?:] ))(?:Of|Not|Nor|One that|Those|What)\b{QUESTION}": OPENING,
    r"(?i)\balone\b": "only",
    r"(?i)\bmend(?:s|ed|ing)?\b": "fix",
    r"(?i)\b(?:told|tells?|telling)\b": "report, log, say or pass to",
    r"(?i)\banew\b": "rebuild, recreate, again",
    r"(?i)\b(?:made|makes?|making) (?:\w+ )?again\b": "rebuild, recompute",
    r"(?i)\bended well\b": "succeeded",
    r"(?i)\b(?:stands?|stood) in\b": "is in",
    r"(?i)\bas (?:it is|they are|they came)\b(?= *(?:[.,;:]|$))": "unchanged",
    r"(?i)\bso (?:long|many)\b(?! as\b)": "this long, this many, or the number's name",
    r"(?i)\bwhere (?:an?|the|it|its|there|they|this|that|no|none|nobody|nothing|one|any|some\w*)\b": "if, when, in",
}
# Mark of a comment, by the suffix of a file; the mark is at the start of a line or after a blank.
MARKS = {
    ".sql": "--", ".yml": "#", ".yaml": "#", ".toml": "#", ".conf": "[;#]", ".cfg": "#", ".properties": "#",
    ".example": "#", ".sh": "#", "": "#",
}  # fmt: skip
SPEAKING = {
    "debug",
    "info",
    "warning",
    "error",
    "exception",
    "print",
    "echo",
}  # functions whose argument is a message
DESCRIBING = {"description", "help", "doc_md"}  # arguments that people read
# Part of a text that may break a rule: the reason.
EXCEPTIONS = {
    "What changes, and why": "a heading that asks the author",
}

Text = tuple[int, str]  # the line that a text starts in, and the text


def join_lines(lines: Iterable[Text]) -> Iterator[Text]:
    """Yield lines that follow one another as one text."""
    block: list[str] = []
    first = 0
    for number, line in lines:
        if block and number != first + len(block):
            yield first, "\n".join(block)
            block = []
        if not block:
            first = number
        block.append(line)
    if block:
        yield first, "\n".join(block)


def read_string(node: ast.AST) -> str:
    """Return the text of a string in the source, with `…` for each value that it formats."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            "…" if isinstance(part, ast.FormattedValue) else read_string(part) for part in node.values
        )
    return "".join(read_string(child) for child in ast.iter_child_nodes(node))


def read_node(node: ast.AST) -> str:
    """Return the text that a node says to people: a docstring, an error, a logged message, a description."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(node) or ""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return " ".join(read_string(argument) for argument in node.exc.args)
    if isinstance(node, ast.Call) and node.args:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return read_string(node.args[0]) if name in SPEAKING else ""
    return read_string(node.value) if isinstance(node, ast.keyword) and node.arg in DESCRIBING else ""


def python_texts(source: str) -> Iterator[Text]:
    """Yield docstrings, messages and comments."""
    for node in ast.walk(ast.parse(source)):
        if text := read_node(node):
            yield getattr(node, "lineno", 1), text
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = ((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)
    yield from join_lines((line, text.lstrip("#").strip()) for line, text in comments if "noqa" not in text)


def marked_texts(source: str, mark: str) -> Iterator[Text]:
    """Yield Jinja comments, and comments behind a mark."""
    jinja = re.compile(r"\{#-?(.*?)-?#\}", re.DOTALL)
    for comment in jinja.finditer(source):
        yield source.count("\n", 0, comment.start()) + 1, comment[1].strip()
    rest = jinja.sub(lambda comment: "\n" * comment[0].count("\n"), source)
    matches = (re.search(rf"(?:^|\s)(?:{mark})(?!!)\s?(.*)$", line) for line in rest.splitlines())
    yield from join_lines((number, comment[1]) for number, comment in enumerate(matches, 1) if comment)


def markdown_texts(source: str) -> Iterator[Text]:
    """Yield paragraphs, list items and cells of tables, without code and the names of links."""
    code = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
    prose = code.sub(lambda block: "\n" * block[0].count("\n"), source)
    lines = (
        re.sub(r"^[\s>*#|-]+|\[[^]]*\]\([^)]*\)|^\d+\. ", "", line).strip() for line in prose.splitlines()
    )
    yield from join_lines((number, line) for number, line in enumerate(lines, 1) if line)


def texts(path: Path) -> Iterator[Text]:
    """Yield everything that a file says to its readers."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from python_texts(source)
    elif path.suffix == ".md":
        yield from markdown_texts(source)
    elif path.suffix in MARKS:
        yield from marked_texts(source, MARKS[path.suffix])


def without_quotes(text: str) -> str:
    """Return a text in one line, with `…` for code and quotations."""
    prose = re.sub(r"``?[^`]*``?|\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)", "`…`", text)
    return re.sub(r"\s+", " ", re.sub(r"\n\s*\n", ". ", prose)).strip()


def findings(path: Path) -> list[str]:
    """Return the breaches of a file: its line, the words, their surroundings, and the better words."""
    return [
        f"{path}:{line}: {match[0]!r} in …{prose[max(0, match.start() - 30) : match.end() + 40]}… Better: {better}"
        for line, prose in ((line, without_quotes(text)) for line, text in texts(path))
        if not any(exception in prose for exception in EXCEPTIONS)
        for pattern, better in RULES.items()
        for match in re.finditer(pattern, prose)
    ]


def project_files() -> list[Path]:
    """Return the project's text files, without those that git ignores; none outside of a repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    paths = [ROOT / name for name in names if name not in SKIPPED]
    return [path for path in paths if path.is_file() and path.suffix in {*MARKS, ".py", ".md"}]


@pytest.mark.parametrize("path", project_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_language_is_plain(path: Path) -> None:
    problems = findings(path)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("a.py", '"""Read it.\n\nNot the copy."""', ["Not"]),
        ("a.py", "# It is kept\n# where it was.\n", ["where it"]),
        ("a.py", 'raise ValueError(f"{name} is told")', ["told"]),
        ("a.py", 'log.info("All ended well: %s", name)', ["ended well"]),
        ("a.py", 'name = "Not of this"', []),
        ("a.sql", "select 1 -- Of no use\nwhere a.b = 'x'", ["Of"]),
        ("a.sql", "{#- Built\n    anew. -#}\nselect 1", ["anew"]),
        ("a.yml", "tells: x # This tells all.", ["tells"]),
        ("a.md", "Read `where the`.\n\n```sh\nNot this\n```\n\n- What now?\n- What is it?\n", ["What"]),
        ("a.md", "This stands\nin a list.", ["stands in"]),
        ("Makefile", "run: ## Make it again", ["Make it again"]),
    ],
)
def test_rules_apply_to_what_people_read(tmp_path: Path, name: str, source: str, words: list[str]) -> None:
    path = tmp_path / name
    path.write_text(source)
    assert [finding.split("'")[1] for finding in findings(path)] == words


if __name__ == "__main__":
    print("\n".join(problem for name in sys.argv[1:] for problem in findings(Path(name))))
