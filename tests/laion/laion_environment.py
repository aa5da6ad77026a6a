"""The environment that ``tests/laion`` runs in: clip-retrieval pins NumPy below 2, pandas below 3 and more.

It is made once, in ``.laion-env`` beside the sources (not in version control), with pip from whatever index pip is
configured for, and brought up to date when ``pyproject.toml`` changes. torch and what it brings (5 of 6.5 GB) are the
same in both environments, so they are not installed a second time: a folder of links to the installed ones stands in
the path of the new environment, outside of it, where pip finds them and leaves them alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / ".laion-env"
GIVEN = "BENCHBENCH_LAION_PYTHON"
#: What may be shared, beside torch and torchvision themselves: the libraries they are pinned to.
_SHARED = ("nvidia-", "cuda-", "triton")
_PROBE = "import clip_retrieval.clip_client, benchbench, torch; assert torch.ones(2).numpy().sum() == 2"


class CannotInstall(Exception):  # noqa: N818
    """Why there is no environment, in one line.

    Attributes:
        offline: whether no index of packages was reachable, rather than something wrong with what was asked of it.
    """

    def __init__(self, text: str, offline: bool) -> None:
        super().__init__(text)
        self.offline = offline


def interpreter() -> Path:
    """Return the Python of an environment with ``benchbench[laion]``: this one, the one given, or one that is made.

    Raises:
        CannotInstall: pip could not install it.
    """
    if os.environ.get(GIVEN):
        return Path(os.environ[GIVEN])
    if importlib_finds("clip_retrieval"):
        return Path(sys.executable)
    HOME.mkdir(exist_ok=True)
    with FileLock(HOME / "lock"):
        python, stamp = HOME / "env" / "bin" / "python", HOME / "stamp"
        if not (python.exists() and stamp.exists() and stamp.read_text() == fingerprint()):
            stamp.unlink(missing_ok=True)
            make(HOME / "env", HOME / "shared")
            stamp.write_text(fingerprint())
    return python


def importlib_finds(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def fingerprint() -> str:
    """Return a hash of what the environment is made from."""
    told = [(ROOT / "pyproject.toml").read_text("utf-8"), Path(__file__).read_text("utf-8"), sys.version, str(ROOT)]
    return hashlib.sha256(repr([*told, metadata.version("torch")]).encode()).hexdigest()


def make(environment: Path, shared: Path) -> None:
    """Make the environment, or bring one that is there up to date (seconds, where only entry points changed)."""
    run(sys.executable, "-m", "venv", str(environment))
    pinned = share_torch(environment, shared)
    constraints = HOME / "constraints.txt"
    constraints.write_text("".join(f"{name}=={metadata.version(name)}\n" for name in pinned))
    install = [str(environment / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    install += ["--no-compile", "--quiet"]  # most of what is installed is never imported
    run(*install, "-c", str(constraints), "-e", f"{ROOT}[laion]")
    run(str(environment / "bin" / "python"), "-c", _PROBE)


def share_torch(environment: Path, shared: Path) -> list[str]:
    """Put the installed torch into the path of an environment; returns the names of what is shared."""
    names = torch_and_its_libraries()
    shared.mkdir(exist_ok=True)
    for old in shared.iterdir():
        old.unlink()
    for name in names:
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()}
        for top in sorted(top for top in tops - {"..", "__pycache__"} if not top.endswith(".pth")):
            link = shared / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "shared.pth").write_text(f"{shared}\n")
    return names


def torch_and_its_libraries() -> list[str]:
    names = {str(item.metadata["Name"]).lower() for item in metadata.distributions()}
    return sorted(name for name in names if name in ("torch", "torchvision") or name.startswith(_SHARED))


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        offline = "(from versions: none)" in done.stderr or "NewConnectionError" in done.stderr
        text = " | ".join(told[-3:]) or str(done.returncode)
        raise CannotInstall(f"{' '.join(command[1:5])}: {text}", offline)


if __name__ == "__main__":
    print(interpreter())
