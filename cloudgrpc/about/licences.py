"""The licences of everything that runs when we do, with their whole texts, read off what is installed here."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

import cloudgrpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHECKOUT = Path(cloudgrpc.__file__).parents[1]
TEXTS = Path(__file__).with_name("texts")
IS_TEXT = re.compile(r"(licen[cs]e|copying|notice|authors|copyright)", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z0-9._-]+")
# Libraries in C that come within the packages (psycopg2 brings libpq with all that it needs, cryptography and Python
# have OpenSSL), and those of Python that an executable carries: name -> licence. Their texts are files of these names.
LIBRARIES = {
    "bzip2": "bzip2-1.0.6",
    "cyrus-sasl": "BSD-4-Clause-UC",
    "expat": "MIT",
    "gcc-runtime": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "keyutils": "LGPL-2.1-or-later",
    "krb5": "MIT",
    "libcom_err": "MIT",
    "libffi": "MIT",
    "libpq": "PostgreSQL",
    "libselinux": "public domain",
    "libuuid": "BSD-3-Clause",
    "libxcrypt": "LGPL-2.1-or-later",
    "openldap": "OLDAP-2.8",
    "openssl": "Apache-2.0",
    "pcre": "BSD-3-Clause",
    "sqlite": "public domain",
    "xz": "public domain",
    "zlib": "Zlib",
}
# What the texts above, and those of psycopg2 and certifi, refer to.
REFERRED = ("Apache-2.0", "GPL-2", "GPL-3", "LGPL-2.1", "LGPL-3", "MPL-2.0")


class Licence(Struct, frozen=True):
    """Of one part. `version`: "" where it is not known. `licence`: its name, in short. `text`: whole."""

    name: str
    version: str
    licence: str
    text: str


def gather() -> list[Licence]:
    """Of ourselves, of Python, of all packages that we need, and of the libraries in them."""
    found = [_own(), _python()]
    found += sorted((_of(package) for package in packages()), key=lambda each: each.name.lower())
    found += [Licence(name, "", licence, _text(TEXTS / f"{name}.txt")) for name, licence in LIBRARIES.items()]
    found += [Licence(f"the text of {name}", "", name, _text(TEXTS / f"{name}.txt")) for name in REFERRED]
    return found


def packages() -> Iterator[metadata.Distribution]:
    """All that is needed to run, and PyInstaller where it is installed: an executable begins with its bootloader."""
    seen: set[str] = set()
    wanted = [*_needed(), "pyinstaller"]
    while wanted:
        name = wanted.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # one for other systems, or other versions of Python
        yield package
        if key != "pyinstaller":  # what it needs stays with the build
            wanted += _names(package.requires or [])


def _needed() -> list[str]:
    project = CHECKOUT / "pyproject.toml"
    if project.is_file():
        return _names(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"])
    return _names(metadata.requires("cloudgrpc") or [])


def _names(requirements: Iterable[str]) -> list[str]:
    required = [each for each in requirements if "extra ==" not in each]
    return [found[0] for each in required if (found := NAME.match(each))]


def _of(package: metadata.Distribution) -> Licence:
    texts = [file for file in package.files or [] if IS_TEXT.search(file.name) and ".dist-info" in file.parts[0]]
    return Licence(
        package.name,
        package.version,
        _short(package.metadata),
        "\n\n".join(_text(Path(str(package.locate_file(file)))) for file in texts),
    )


def _short(told: metadata.PackageMetadata) -> str:
    """By its expression, else in the author's words, else by its classifiers."""
    classifiers = [
        each.rpartition(":: ")[2] for each in told.get_all("Classifier") or [] if each.startswith("License ::")
    ]
    words = [*(told.get_all("License-Expression") or []), *(told.get_all("License") or []), ", ".join(classifiers)]
    return next((each for each in words if each and "\n" not in each), "see its text")


def _own() -> Licence:
    text = CHECKOUT / "LICENSE"
    if not text.is_file():
        return _of(metadata.distribution("cloudgrpc"))
    return Licence("cloudgrpc", cloudgrpc.__version__, "MIT", _text(text))


def _python() -> Licence:
    version = ".".join(map(str, sys.version_info[:3]))
    library = Path(re.__file__).parents[1]  # where Python keeps its own modules
    debians = Path(f"/usr/share/doc/python{sys.version_info.major}.{sys.version_info.minor}/copyright")
    for path in (library / "LICENSE.txt", library / "LICENSE", debians):
        if path.is_file():
            return Licence("Python", version, "PSF-2.0", _text(path))
    return Licence("Python", version, "PSF-2.0", f"{sys.copyright}\n\nhttps://docs.python.org/3/license.html")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()
