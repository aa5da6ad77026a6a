"""Where the corpus's typefaces come from: free Debian packages, matplotlib's own, and Hershey strokes."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

# Debian package: licence (as its copyright file states it). No weight file contains a typeface.
PACKAGES = {
    "fonts-averia-sans-gwf": "OFL-1.1",
    "fonts-averia-serif-gwf": "OFL-1.1",
    "fonts-beteckna": "GPL-3",
    "fonts-breip": "OFL-1.0",
    "fonts-bwht": "OFL-1.1",
    "fonts-cabin": "OFL-1.1",
    "fonts-cantarell": "OFL-1.1",
    "fonts-comic-neue": "OFL-1.1",
    "fonts-crosextra-caladea": "OFL-1.1",
    "fonts-crosextra-carlito": "OFL-1.1",
    "fonts-dancingscript": "OFL-1.1",
    "fonts-dejavu-core": "Bitstream-Vera",
    "fonts-dejavu-extra": "Bitstream-Vera",
    "fonts-dkg-handwriting": "OFL-1.1",
    "fonts-dosis": "OFL-1.1",
    "fonts-ecolier-court": "OFL-1.1",
    "fonts-essays1743": "OFL-1.1 or LGPL-2.1",
    "fonts-femkeklaver": "CC-BY-SA-3.0",
    "fonts-firacode": "OFL-1.1",
    "fonts-freefont-ttf": "GPL-3+ with font exception",
    "fonts-hack": "Expat and Bitstream-Vera",
    "fonts-humor-sans": "OFL-1.1",
    "fonts-inconsolata": "OFL-1.0",
    "fonts-isabella": "LGPL-2+",
    "fonts-junicode": "OFL-1.1",
    "fonts-jura": "OFL-1.1",
    "fonts-karla": "OFL-1.1",
    "fonts-kaushanscript": "OFL-1.1",
    "fonts-klee": "OFL-1.1",
    "fonts-kristi": "OFL-1.1",
    "fonts-lato": "OFL-1.1",
    "fonts-leckerli-one": "OFL-1.1",
    "fonts-liberation": "GPL-2 with font exception",
    "fonts-lindenhill": "MIT",
    "fonts-linuxlibertine": "OFL-1.1 or GPL-2+ with font exception",
    "fonts-lobster": "OFL-1.1",
    "fonts-monofur": "OFL-1.1",
    "fonts-mononoki": "OFL-1.1",
    "fonts-oldstandard": "OFL-1.0",
    "fonts-open-sans": "Apache-2.0",
    "fonts-opendyslexic": "CC-BY-3.0 and Bitstream-Vera",
    "fonts-play": "OFL-1.1",
    "fonts-quicksand": "OFL-1.1",
    "fonts-roboto-unhinted": "Apache-2.0",
    "fonts-rufscript": "GPL-3+ with font exception",
    "fonts-tomsontalks": "OFL-1.1",
    "fonts-urw-base35": "AGPL-3 with font exception",
    "fonts-vollkorn": "OFL-1.1",
    "fonts-yanone-kaffeesatz": "OFL-1.1",
}
_PER_PACKAGE = 8
# Ornaments, initials in frames and symbol faces: their letters are not letters.
_SKIP = ("keyboard", "initials", "d050000l", "symbol", "karlatamil", "mathtexgyre")


class MissingFontsError(RuntimeError):
    """Typefaces that the corpus needs are not on this machine."""


class Typeface(NamedTuple):
    """One font file, the package it came from, and that package's licence."""

    path: Path
    package: str
    licence: str

    def fingerprint(self) -> str:
        """Return the sha256 of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def _package_files(package: str) -> list[Path]:
    listing = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=False)
    files = [Path(line) for line in listing.stdout.splitlines() if line.lower().endswith((".ttf", ".otf", ".t1"))]
    # A package may ship one face in several formats; TrueType and OpenType by name, first of each stem.
    stems: dict[str, Path] = {}
    for path in sorted(files, key=lambda p: (p.suffix.lower() != ".ttf", p.name)):
        if path.is_file() and not any(word in path.stem.lower().replace("-", "") for word in _SKIP):
            stems.setdefault(path.stem.lower(), path)
    return sorted(stems.values(), key=lambda p: p.name)


def _spread(paths: list[Path], count: int) -> list[Path]:
    """Keep `count` of `paths`, evenly spaced, so that no family with many weights dominates."""
    if len(paths) <= count:
        return paths
    return [paths[i * len(paths) // count] for i in range(count)]


def debian_typefaces() -> list[Typeface]:
    """List the typefaces of all PACKAGES.

    Raises:
        MissingFontsError: naming the packages that are not installed.

    """
    if shutil.which("dpkg-query") is None:
        raise MissingFontsError("--fonts debian needs a Debian or Ubuntu machine; use --fonts bundled elsewhere")
    found = {package: _package_files(package) for package in PACKAGES}
    missing = [package for package, files in found.items() if not files]
    if missing:
        raise MissingFontsError(f"{len(missing)} font packages are missing: apt-get install {' '.join(missing)}")
    return [
        Typeface(path, package, PACKAGES[package])
        for package, files in found.items()
        for path in _spread(files, _PER_PACKAGE)
    ]


def bundled_typefaces() -> list[Typeface]:
    """List the DejaVu and STIX faces that ship inside matplotlib.

    Raises:
        MissingFontsError: when matplotlib is not installed.

    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingFontsError("matplotlib is missing: install the extra benchbench[pretrain]") from error
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    wanted = [p for p in sorted(folder.glob("*.ttf")) if p.stem.startswith(("DejaVuS", "STIXGeneral"))]
    wanted = [p for p in wanted if "Display" not in p.stem]
    return [Typeface(p, "matplotlib", "Bitstream-Vera" if "DejaVu" in p.stem else "OFL-1.1") for p in wanted]
