"""The Markdown files agree with each other and with the project."""

import re
from pathlib import Path

import pytest

from stack.settings import ROOT

FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
pytestmark = pytest.mark.skipif(not (ROOT / "sample").exists(), reason="pages name files of the sample shop")
# These pages may name files that only earlier versions had.
HISTORY = (ROOT / "CHANGELOG.md", ROOT / "docs" / "how-to" / "upgrade.md")


def list_pages() -> list[Path]:
    """Return the project's Markdown files."""
    folders = [ROOT / name for name in (".github", "docs", "include")]
    pages = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    return sorted(page for page in pages if "target" not in page.parts)


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    names: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        names.append(f"{name}-{names.count(name)}" if name in names else name)
    return set(names)


def over(paths: list[Path]) -> pytest.MarkDecorator:
    """Return a mark that runs a test once for each page."""
    return pytest.mark.parametrize("page", paths, ids=lambda page: str(page.relative_to(ROOT)))


pages = over(list_pages())


@pages
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w -]*?):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {name for names in targets for name in names.split()}
    text = page.read_text()
    commands = [code for block in FENCE.findall(text) for code in re.findall(r"^\s*(make .*)$", block, re.M)]
    commands += re.findall(r"`(make [^`]*)`", text)
    for command in commands:
        for name in re.findall(r"(?<=make )(?:-s )?([a-z][\w-]*)", command):
            assert name in known, command


@over([page for page in list_pages() if page not in HISTORY])
def test_files_that_are_named_exist(page: Path) -> None:
    folders = "bench|dags|docs|include|plugins|sample|stack|tests"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", prose(page)):
        # The reader of a guide creates the files of its examples.
        if not re.search(r"invoices|billing|customers_by_city", name):
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem
)
def test_decision_has_status_date_and_headings(page: Path) -> None:
    if page.name == "README.md":
        linked = set(LINK.findall(page.read_text()))
        assert linked >= {other.name for other in page.parent.glob("*.md")} - {page.name}
        return
    text = prose(page)
    assert re.search(r"^- Status: (proposed|accepted|superseded)$", text, re.MULTILINE)
    assert re.search(r"^- Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Measured"]


def test_readme_is_short_and_the_index_lists_every_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    expected = {page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"}
    assert linked >= expected - {index}
