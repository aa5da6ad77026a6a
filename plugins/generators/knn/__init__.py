"""The ``knn`` generator: parameters, presets and what can be refused before any work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import UsageError, nearest
from benchbench.files import expanded
from benchbench.plugins import Context, DatasetInfo, Generator, ImageSet, Requirements, param
from benchbench.plugins.images import batches

from .pools import is_address, kind_of, unfinished

if TYPE_CHECKING:
    from typing import Self

    from benchbench.models.clip.layout import ClipLayout

#: Pictures up to which a folder without an index is indexed on the way.
MOST_UNINDEXED = 50_000


@dataclass(frozen=True)
class KNN(Generator):
    """The k nearest pictures of each real image in a pool, by CLIP similarity, labelled as the image is.

    The retrieval baseline of Zhou et al. 2023 (section 4 and Table 3), who query LAION-5B with CLIP ViT-L/14 for 10,
    25 or 50 neighbours of every training image and keep each picture once within a class. Their client also bends every
    query towards pictures rated beautiful (``aesthetic_score=9``, ``aesthetic_weight=0.5``, the defaults of
    clip-retrieval); here a query is the image's embedding and nothing else.

    ``pool`` is the name of an embedded pool, a folder that ``bench index build`` or ``clip-retrieval index`` wrote, the
    address of a ``clip-retrieval back`` server, or a folder of pictures: without an index, up to 50,000 of them are
    indexed on the way, once for each content. The pool must be indexed by the CLIP that embeds the queries.

    A class uses a picture once, even if several images retrieve it or the pool holds it several times; ``spare``
    further neighbours of each image stand in for those left out, for dead links and for broken files. A picture that
    two classes retrieve is used by both, is marked in its origin and counted in the record. So there are fewer than
    ``k`` times as many pictures as real images, in an order in which all first neighbours come before all second ones.

    A picture whose centre square, at the dataset's resolution, equals a training image (mean difference below 2 of 255)
    is counted and, unless ``keep_queries``, left out: a pool that holds the training images answers with the query. A
    generator does not see the test images; that the pool holds none of them is up to the user.

    What a server answers, and the files that an index of clip-retrieval names, are not part of a step's key: a pool
    that changed although its index did not is asked again only if nothing is cached.

    ``resize=pad`` keeps a picture whole on white, as img2dataset's default does; ``crop`` takes the centre square.
    """

    may_yield_fewer: ClassVar[bool] = True

    k: int = param(10, low=1, high=1000, help="Neighbours of each real image.")
    pool: str = param(
        "glyph-pool", help="Where to search: an embedded pool, an index folder, a folder of pictures, http(s)://server."
    )
    clip: str = param(
        "glyph-clip",
        paper="openai/clip-vit-large-patch14",
        help="CLIP that embeds the real images, the one that the pool is indexed by.",
    )
    spare: int = param(
        0, low=0, high=1000, help="Further neighbours of each image that stand in for duplicates and broken pictures."
    )
    resize: str = param(
        "crop", choices=("crop", "pad", "squash"), paper="pad", help="How a picture of any shape becomes a square."
    )
    deduplicate: bool = param(
        True, stage="sample", help="Whether a class uses the same picture (by key or by equal pixels) once."
    )
    dedup_similarity: float | None = param(
        None,
        above=0,
        high=1,
        stage="sample",
        help="Also leave out pictures of a class at least this similar to one it uses; clip-retrieval's is 0.94.",
    )
    min_similarity: float | None = param(
        None, low=-1, high=1, stage="sample", help="Least cosine similarity with the real image; none for no limit."
    )
    keep_queries: bool = param(
        False, stage="sample", help="Whether to use pictures of the pool that equal a training image."
    )
    pictures: str | None = param(None, help="Folder of an index's pictures, where they lie elsewhere than they did.")
    indice_name: str | None = param(None, help="Which index of a server; none for its only one.")
    safe: bool = param(True, help="Whether a server leaves out what it holds for unsafe, where it can tell.")
    allow_private: bool = param(False, help="Whether pictures may be downloaded from private and loopback addresses.")
    timeout: float = param(
        20.0, above=0, affects_result=False, help="Longest silence of a server or download in seconds."
    )
    retries: int = param(2, low=0, high=20, affects_result=False, help="Further attempts after a failed request.")
    downloads: int = param(16, low=1, high=256, affects_result=False, help="Downloads at the same time.")
    shard_size: int = param(
        250, low=1, affects_result=False, help="Real images per fit step; more to keep to 64 steps."
    )

    def needs(self) -> Requirements:
        """Return the CLIP, the pool unless it is a server, and the packages that search."""
        if is_address(self.pool):
            return Requirements(("clip_retrieval",), foundations=(self.clip,), extras={"clip_retrieval": "laion"})
        return Requirements(("faiss", "pyarrow"), foundations=(self.clip, self.pool))

    def resolve(self, info: DatasetInfo) -> Self:
        """Look at the pool as far as that is cheap.

        Raises:
            UsageError: an empty parameter, no such pool, one without pictures or with fewer than ``k``, one too large
                to be indexed on the way, an unfinished index, one built with another CLIP, or a CLIP that is none.
            BenchError: a damaged index.
            MissingError: an index whose pictures are not where they were.
        """
        from benchbench.models.clip.layout import local_layout

        self._refuse_empty()
        clip = local_layout(self.clip, "knn")
        if is_address(self.pool):
            return self
        folder = self._locate()
        kind = kind_of(folder)
        if kind == "index":
            self._check_index(folder, clip)
        elif kind == "unfinished":
            raise unfinished(self._subject, folder)
        elif kind == "pictures":
            self._check_pictures(folder)
        return self

    def input_paths(self) -> tuple[Path, ...]:
        """Return the folder of the pictures where it is not the pool's own, so that a changed one is a new key."""
        if is_address(self.pool):
            return ()
        folder = self._locate()
        if self.pictures:
            return (expanded(self.pictures),)
        from .pools.layout import find_pictures, read_facts

        if kind_of(folder) != "index":
            return ()
        pictures = find_pictures(folder, read_facts(folder, self._subject), None, self._subject)
        return () if pictures.is_relative_to(folder.resolve()) else (pictures,)

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return ``k`` pictures for each real image, or fewer if fewer are asked for."""
        most = self.k * train_count
        return most if asked is None else min(asked, most)

    def shards(self, train_count: int) -> Sequence[range]:
        """Return ranges of ``shard_size`` images."""
        size = max(self.shard_size, -(-train_count // 64))
        return tuple(batches(train_count, size))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Stage 1: retrieve the neighbours of ``context.shard`` and fetch their pictures."""
        from .retrieve import retrieve

        retrieve(self, train, context)

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Stage 2: yield the chosen pictures, at most ``context.n_syn``."""
        from .sampling import sample_neighbours

        yield from sample_neighbours(self, train, context)

    def refuse_few(self, count: int, before: str = "", after: str = "") -> None:
        """Raise ``UsageError`` for a pool of fewer than ``k`` pictures."""
        if count < self.k:
            raise UsageError(f"knn:k={self.k}: pool={self.pool} has {before}{count} pictures{after}; ask for no more")

    @property
    def _subject(self) -> str:
        """The start of messages about the pool."""
        return f"knn:pool={self.pool}"

    def _refuse_empty(self) -> None:
        """Refuse an empty path, which would mean the present folder."""
        wanted = {
            "pool": "give an embedded pool, a folder or the address of a server",
            "clip": "give an embedded CLIP, a folder or a hub id",
            "pictures": "give the folder of the index's pictures or leave it out",
        }
        for name, what in wanted.items():
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise UsageError(f"knn:{name}=: is empty; {what}")

    def _locate(self) -> Path:
        from benchbench.plugins.catalog import catalog
        from benchbench.plugins.locate import locate

        names = catalog().names("foundation")
        path = expanded(self.pool)
        if self.pool not in names and not path.is_dir():
            what = "not a folder" if path.exists() else "no such folder"
            if os.sep not in self.pool and not self.pool.startswith((".", "~")):
                what = f"neither an embedded pool nor a folder{nearest(self.pool, names)}"
            raise UsageError(
                f"knn:pool={self.pool}: {what}; give a folder of pictures, an index folder or the address of a server"
            )
        return locate(self.pool)

    def _check_index(self, folder: Path, clip: ClipLayout | None) -> None:
        from benchbench.models.clip.layout import clip_identity

        from .pools.layout import check_files, find_pictures, read_facts, refuse_other_clip

        facts = read_facts(folder, self._subject)
        check_files(folder, facts, self._subject)
        self.refuse_few(facts["count"])
        find_pictures(folder, facts, self.pictures, self._subject)
        if clip is not None:
            refuse_other_clip(facts, {"name": self.clip, "identity": clip_identity(clip.folder)}, self._subject)

    def _check_pictures(self, folder: Path) -> None:
        from .pools.sources import list_pool

        count = len(list_pool(folder, self._subject).entries)
        if count > MOST_UNINDEXED:
            out = f"{self.pool.rstrip('/')}-index"
            raise UsageError(
                f"knn:pool={self.pool}: {count:,} pictures without an index, above the {MOST_UNINDEXED:,} that are "
                f"indexed on the way; run `bench index build {self.pool} --out {out} --clip {self.clip}` and give "
                f"pool={out}"
            )
        self.refuse_few(count, "at most ", " (unreadable ones not yet counted)")
