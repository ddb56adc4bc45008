"""Downloads, either by the real Ivy from a Maven repository that the test serves, or simulated with failures."""

import functools
import hashlib
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tenacity import stop_after_attempt, wait_none

from stack import fetch
from stack.errors import StackError
from stack.settings import Settings

CONTENT = b"a jar"
WANTED = {
    "organisation": "org.example",
    "version": "1",
    "type": "jar",
    "bytes": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
}
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>thing</artifactId><version>1</version>
</project>
"""


@pytest.fixture(autouse=True)
def one_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pin only one artifact, and let retries start without a wait."""
    pinned = fetch.artifacts() | {"maven": {"thing": WANTED}}
    monkeypatch.setattr(fetch, "artifacts", lambda: pinned)
    monkeypatch.setattr(fetch, "wait_exponential", lambda max: wait_none())


@pytest.fixture
def arriving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Simulate downloads: bytes are what arrives; an Interrupted is raised after a part of the file has arrived.

    The fixture is a function that returns the list of attempts.
    """

    def configure(*ends: bytes | fetch.Interrupted) -> list[int]:
        tries: list[int] = []

        def download(name: str, wanted: dict[str, Any], folder: Path, settings: Settings) -> None:
            end = ends[len(tries)]
            tries.append(len(tries))
            (folder / "thing-1.jar").write_bytes(end if isinstance(end, bytes) else CONTENT[:2])
            if isinstance(end, fetch.Interrupted):
                raise end

        monkeypatch.setattr(fetch, "download", download)
        return tries

    return configure


def files(folder: Path) -> list[str]:
    """Return the names of all files below a folder, sorted."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_an_interrupted_download_starts_again_by_itself(
    settings: Settings, arriving: Callable[..., list[int]]
) -> None:
    tries = arriving(fetch.Interrupted("reset"), fetch.Interrupted("reset"), CONTENT)
    assert fetch.maven("thing", settings).read_bytes() == CONTENT
    assert len(tries) == 3
    assert files(settings.cache) == ["thing-1.jar"]


def test_what_is_in_the_cache_is_not_fetched_again(
    settings: Settings, arriving: Callable[..., list[int]]
) -> None:
    tries = arriving(CONTENT)
    assert fetch.maven("thing", settings) == fetch.maven("thing", settings)
    assert len(tries) == 1


def test_a_partial_file_is_never_used(settings: Settings, arriving: Callable[..., list[int]]) -> None:
    arriving(*[fetch.Interrupted("error: connection reset")] * 4)
    with pytest.raises(StackError, match=r"thing-1\.jar could not be fetched(.|\n)*reset(.|\n)*proxy"):
        fetch.maven("thing", settings)
    assert files(settings.cache) == []


def test_a_wrong_checksum_is_refused_and_nothing_stays(
    settings: Settings, arriving: Callable[..., list[int]]
) -> None:
    arriving(b"something else")
    with pytest.raises(StackError, match="wrong checksum"):
        fetch.maven("thing", settings)
    assert files(settings.cache) == []


def test_missing_disk_space_is_reported_before_anything_is_fetched(
    settings: Settings, arriving: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = arriving(CONTENT)
    full = type("usage", (), {"free": 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(StackError, match=r"No disk space for thing-1\.jar(.|\n)*STACK_CACHE"):
        fetch.maven("thing", settings)
    assert tries == []


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a Maven repository with the artifact; yield its URL and the list of requested paths."""
    place = tmp_path / "repository" / "org" / "example" / "thing" / "1"
    place.mkdir(parents=True)
    (place / "thing-1.jar").write_bytes(CONTENT)
    (place / "thing-1.pom").write_text(POM)
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            requests.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "repository")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", requests
        server.shutdown()


def mirrored(settings: Settings, url: str) -> Settings:
    """Return the settings with an Ivy settings file that names a mirror."""
    path = settings.home / "ivysettings.xml"
    path.write_text(
        f'<ivysettings><settings defaultResolver="mirror"/><resolvers>'
        f'<ibiblio name="mirror" m2compatible="true" root="{url}"/></resolvers></ivysettings>'
    )
    return settings.model_copy(update={"ivy_settings": path})


def test_ivy_fetches_from_the_mirror_that_the_settings_name(
    settings: Settings, repository: tuple[str, list[str]]
) -> None:
    assert fetch.maven("thing", mirrored(settings, repository[0])).read_bytes() == CONTENT


def test_the_default_settings_ask_for_the_artifact_and_no_pom(
    settings: Settings, repository: tuple[str, list[str]]
) -> None:
    """Trino's POM imports hundreds of other POMs. To fetch them took minutes before the download itself began."""
    url, requests = repository
    text = settings.ivy_settings.read_text()
    here = settings.home / "ivysettings.xml"
    here.write_text(text.replace("<ibiblio ", f'<ibiblio root="{url}" '))
    assert fetch.maven("thing", settings.model_copy(update={"ivy_settings": here})).read_bytes() == CONTENT
    assert {path.removeprefix("/org/example/thing/1/") for path in requests} == {
        "thing-1.jar",
        "thing-1.jar.sha1",
        "thing-1.jar.md5",
    }


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an interrupted download fail at once instead of starting again."""
    monkeypatch.setattr(fetch, "stop_after_attempt", lambda tries: stop_after_attempt(1))


def test_an_unreachable_registry_is_reported_with_advice(
    settings: Settings, closed_port: int, one_try: None
) -> None:
    with pytest.raises(StackError, match=r"could not be fetched(.|\n)*STACK_IVY_SETTINGS"):
        fetch.maven("thing", mirrored(settings, f"http://127.0.0.1:{closed_port}/"))
    assert files(settings.cache) == []


def test_an_unreachable_registry_of_the_jdk_is_reported_and_nothing_stays(
    settings: Settings, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "system_jdk", lambda versions: None)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    with pytest.raises(StackError, match=r"Fetching a JDK failed(.|\n)*HTTPS_PROXY"):
        fetch.jdk("trino", settings)
    assert files(settings.cache) == []


def test_a_stalled_download_is_ended_and_reported(
    settings: Settings, taken_port: int, monkeypatch: pytest.MonkeyPatch, one_try: None
) -> None:
    monkeypatch.setattr(fetch, "PROGRESS_SECONDS", 0.1)
    monkeypatch.setattr(fetch, "STALLED_SECONDS", 1)
    with pytest.raises(StackError, match="nothing arrived for 1 seconds"):
        fetch.maven("thing", mirrored(settings, f"http://127.0.0.1:{taken_port}/"))
