"""Files that are swapped while the installed command runs: one line, nothing wrong kept, and a rerun goes on."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import pytest
import toy_images
from toys import BARE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="renames show in the signatures of Linux")

#: Reads the photos' folder while it samples, and lets a script act before each chunk.
READER = '''
from __future__ import annotations
import os, signal
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from benchbench import Generator, ImageSet, param

@dataclass(frozen=True)
class Reader(Generator):
    """As bright as its pool says."""
    pool: Path = param(Path("pool"), help="Folder.", must_exist=False)

    def fit(self, train, context):
        pass

    def sample(self, train, context):
        for chunk in context.chunks(context.n_syn, 3):
            if Path("script.py").exists():
                exec(Path("script.py").read_text())
            shade = int((self.pool / "shade.txt").read_text())
            images = np.full((len(chunk), *train.images.shape[1:]), shade, np.uint8)
            yield ImageSet(images, np.array(chunk) % 2, train.classes)
'''


#: Runs a script while its images are read, which comes before those of the next dataset are.
MOVER = '''
from __future__ import annotations
import os
from dataclasses import dataclass
from pathlib import Path
from toydata import ToyData

@dataclass(frozen=True)
class Mover(ToyData):
    """Moves things."""

    def load(self, split, context):
        if Path("script.py").exists():
            exec(Path("script.py").read_text())
        return super().load(split, context)

    def seconds(self, stage, images, info):
        return 1000.0  # what takes longest comes first
'''


@pytest.fixture
def place(toys):
    toy_images.write_folders(toys.folder)
    (toys.folder / "reader.py").write_text(READER)
    (toys.folder / "mover.py").write_text(MOVER)
    for name, shade in (("pool", "10"), ("wrong", "99")):
        (toys.folder / name).mkdir()
        (toys.folder / name / "shade.txt").write_text(shade)
    return toys


POOL = ("run", "--data", "folder:path=pets", "--gen", "./reader.py:pool=pool", "--n-syn", "12", *BARE[2:])
SWAP, BACK = (
    'os.rename("pool", "kept"); os.rename("wrong", "pool")',
    'os.rename("pool", "wrong"); os.rename("kept", "pool")',
)


def at(**chunks: str) -> str:
    """Return a script that acts at the first image of a chunk, ``c6=`` say."""
    return "\n".join(f"if chunk.start == {name[1:]}:\n    {code}" for name, code in chunks.items())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (at(c3=SWAP), "pool: changed since the plan; run again"),
        (at(c3=SWAP, c6=BACK), "pool: "),  # who looked when decides between the two sentences
        (at(c3=SWAP, c9=f"{BACK}; os.kill(os.getpid(), signal.SIGKILL)"), None),
    ],
)
def test_a_pool_that_is_swapped_while_a_command_samples(place, script, said):
    (place.folder / "script.py").write_text(script)
    done = place(*POOL, code=1 if said else None)
    assert done.code in (1, -signal.SIGKILL)
    if said:
        lines = [line for line in done.err.splitlines() if said in line]
        assert all(line.endswith("run again") for line in lines), lines
        assert lines
    (place.folder / "script.py").unlink()
    if not (place.folder / "wrong").exists():
        os.rename(place.folder / "pool", place.folder / "wrong")
        os.rename(place.folder / "kept", place.folder / "pool")
    place(*POOL)
    sets = [np.load(file) for file in (place.folder / "results/artifacts").glob("??/*/images.npy")]
    assert [np.unique(images).tolist() for images in sets] == [[10]]


def test_photos_that_are_swapped_between_plan_and_step(place):
    """Another folder takes their place; then they are put back, and the same command reads them."""
    command = ("run", "--data", "./mover.py", "--data", "folder:path=pets", "--gen", "real", *BARE[2:])
    (place.folder / "script.py").write_text(
        'if split == "test":\n    os.rename("pets", "kept"); os.rename("untrained", "pets")'
    )
    done = place(*command, code=1)
    assert "folder: path=pets changed since the plan; run again" in done.err
    (place.folder / "script.py").unlink()
    os.rename(place.folder / "pets", place.folder / "untrained")
    os.rename(place.folder / "kept", place.folder / "pets")
    done = place(*command)
    assert "1 done" in done.err + done.out
