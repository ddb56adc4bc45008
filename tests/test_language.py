"""The rules of language in CONTRIBUTING.md that a machine can hold: openings of sentences, and words.

They hold for comments, docstrings, messages, descriptions and Markdown. `python tests/test_language.py FILE…`
prints the findings of some files.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SKIPPED = {"LICENSE", "requirements.txt", "requirements-dev.txt"}
OPENINGS = "Of|Not|Nor|One that|Those|What"
QUESTION = r"(?! (?:is|are|does|do|happens)\b[^.]*\?)"
OPENING = "a sentence needs its subject: write the noun"
# A pattern of words to avoid, and better ones.
RULES = {
    rf"(?:^(?i:{OPENINGS})|(?<=[.!?:] )(?:{OPENINGS}))\b{QUESTION}": OPENING,
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
    "step",
}  # functions whose argument is a message
DESCRIBING = {"description", "help", "doc_md"}  # arguments that people read
# Names that say nothing about a value: a noun is better.
PARTICIPLES = {"asked", "each", "found", "held", "kept", "said", "shown", "told"}
# Part of a text that may break a rule, and the reason.
EXCEPTIONS = {
    "What changes, and why": "a heading that asks the author",
}

JINJA_COMMENT = re.compile(r"\{#-?(.*?)-?#\}", re.DOTALL)
PRAGMA = re.compile(r"# ?(?:noqa: [A-Z]+\d+(?:, [A-Z]+\d+)*|fmt: \w+|type: ignore\[[\w, -]+\])[,\s]*")
SENTENCE = re.compile(r"(?:\S+\s+){3}")  # a string of a macro that may be a message

Text = tuple[int, str]  # the line that a text starts in, and the text


def join_lines(lines: Iterable[Text], apart: Container[int] = ()) -> Iterator[Text]:
    """Yield lines that follow one another as one text, but each of the lines `apart` on its own."""
    block: list[str] = []
    first = 0
    for number, line in lines:
        if block and (number != first + len(block) or number in apart or first in apart):
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
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    behind_code = {token.start[0] for token in comments if not token.line.lstrip().startswith("#")}
    texts = ((token.start[0], PRAGMA.sub("", token.string).lstrip("# ")) for token in comments)
    yield from join_lines(((line, text) for line, text in texts if text), behind_code)


def marked_texts(source: str, mark: str) -> Iterator[Text]:
    """Yield Jinja comments, and comments behind a mark."""
    for comment in JINJA_COMMENT.finditer(source):
        yield source.count("\n", 0, comment.start()) + 1, comment[1].strip()
    rest = JINJA_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), source)
    matches = (re.search(rf"^(.*\s)?(?:{mark})(?!!)\s?(.*)$", line) for line in rest.splitlines())
    comments = {number: comment for number, comment in enumerate(matches, 1) if comment}
    behind_code = {number for number, comment in comments.items() if (comment[1] or "").strip()}
    yield from join_lines(((number, comment[2]) for number, comment in comments.items()), behind_code)


def template_strings(source: str) -> Iterator[Text]:
    """Yield the strings of a macro, joined if Jinja's `~` joins them, with `…` for each value between them."""
    code = JINJA_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), source)
    joined = re.sub(r"'\s*~?\s*'", lambda gap: "\n" * gap[0].count("\n"), code)
    joined = re.sub(r"'\s*[~%][^'{}]*~\s*'", lambda gap: "…" + "\n" * gap[0].count("\n"), joined)
    for text in re.finditer(r"'([^']*)'", joined):
        yield joined.count("\n", 0, text.start()) + 1, text[1]


def described_texts(source: str) -> Iterator[Text]:
    """Yield the descriptions of a YAML file."""
    nodes: list[Any] = [yaml.compose(source)]
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            yield from (
                (value.start_mark.line + 1, value.value)
                for key, value in node.value
                if key.value == "description" and isinstance(value, yaml.ScalarNode)
            )
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


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
    if path.suffix in {".yml", ".yaml"}:
        yield from described_texts(source)
    elif path.suffix == ".sql" and "macros" in path.parts:
        yield from ((line, text) for line, text in template_strings(source) if SENTENCE.search(text))


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


def name_of(node: ast.AST) -> str:
    """Return the name that a node gives to a variable, an argument, a function or a class; empty if it gives none."""
    if isinstance(node, ast.Name | ast.Attribute):
        return getattr(node, "id", getattr(node, "attr", "")) if isinstance(node.ctx, ast.Store) else ""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    return node.arg if isinstance(node, ast.arg) else ""


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
    "path",
    [path for path in project_files() if path.suffix == ".py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_names_are_nouns(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert [f"{node.lineno}: {name}" for node in nodes if (name := name_of(node)) in PARTICIPLES] == []


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "def told(): pass",
        "def f(kept): pass",
        "[each for each in x]",
        "class A:\n    shown: int",
    ],
)
def test_names_that_are_no_nouns_are_noticed(source: str) -> None:
    assert PARTICIPLES & {name_of(node) for node in ast.walk(ast.parse(source))}


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
        ("a.py", "x = 1  # fmt: skip\ny = 2  # of the copy", ["of"]),
        ("a.py", "x = 1  # noqa: S101, not the copy", ["not"]),
        ("a.yml", "tells: x # This tells all.", ["tells"]),
        ("a.yml", "models:\n  - description: >\n      What it\n      keeps.\n    name: x", ["What"]),
        ("macros/a.sql", "{{ log(this ~ ': the row ' ~ name ~ ' was made'\n ~ ' again.') }}", ["made again"]),
        ("a.md", "Read `where the`.\n\n```sh\nNot this\n```\n\n- What now?\n- What is it?\n", ["What"]),
        ("a.md", "This stands\nin a list.", ["stands in"]),
        ("Makefile", "run: ## Make it again", ["Make it again"]),
    ],
)
def test_rules_apply_to_what_people_read(tmp_path: Path, name: str, source: str, words: list[str]) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert [finding.split("'")[1] for finding in findings(path)] == words


if __name__ == "__main__":
    print("\n".join(problem for name in sys.argv[1:] for problem in findings(Path(name))))
