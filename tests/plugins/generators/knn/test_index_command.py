import json
import shlex
import shutil

import pytest
from pools import encoded, noise, write_clip_retrieval, write_folder
from typer.main import get_command

from benchbench.errors import BenchError, UsageError
from benchbench.planning.spec import parse_chain
from benchbench_plugins.generators.knn.pools.command import app


def run(*arguments):
    return get_command(app).main([str(item) for item in arguments], standalone_mode=False, prog_name="bench index")


@pytest.fixture(scope="module")
def pool(tmp_path_factory, clip):
    folder = tmp_path_factory.mktemp("command")
    write_folder(folder / "pool", noise(7))
    (folder / "pool" / "broken.jpg").write_bytes(b"rubbish")
    run("build", folder / "pool", "--out", folder / "index", "--clip", clip, "--batch", 3, "--device", "cpu")
    return folder


def test_build_says_what_it_did_and_that_it_need_not_do_it_again(pool, clip, capsys):
    arguments = ("build", pool / "pool", "--out", pool / "again", "--clip", clip, "--device", "cpu")
    run(*arguments)
    said = capsys.readouterr()
    assert "pictures   7 from a folder, 4 with captions, 0 byte for byte another one" in said.out
    assert "left out   1 that cannot be read, listed in broken.tsv: broken.jpg (not an image, or damaged)" in said.out
    assert f"--gen knn:pool={pool / 'again'},clip={clip}" in said.out
    assert said.err == "embedded 8 of 8    \n"
    run(*arguments)
    assert capsys.readouterr().out.startswith(f"{pool / 'again'} is up to date\n")


def test_show_prints_facts(pool, clip, capsys):
    run("show", pool / "index", "--json")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["count"], facts["clip"]["name"]) == (7, str(clip))
    run("show", pool / "index")
    assert "width 24" in capsys.readouterr().out


def test_search_lists_the_nearest_by_picture_and_by_text(pool, clip, tmp_path, capsys):
    (tmp_path / "query.png").write_bytes(encoded(noise(7)[4]))
    run("search", pool / "index", "--image", tmp_path / "query.png", "--clip", clip, "-k", 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == " 1.0000  part 2/0004.png  picture 4"
    assert len(lines) == 3
    run("search", pool / "index", "--text", "a photo of the digit two", "--clip", clip, "-k", 20, "--json")
    hits = json.loads(capsys.readouterr().out)
    assert len(hits) == 7
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)


def test_mistakes_are_one_line(pool, clip, other_clip, tmp_path):
    (tmp_path / "text.png").write_text("text")
    mistakes = [
        (("search", pool / "index"), "give either --image FILE or --text TEXT"),
        (("search", pool / "index", "--text", "a", "--clip", other_clip), "the index was built with clip="),
        (("search", pool / "index", "--image", tmp_path / "text.png", "--clip", clip), "not an image"),
        (("search", pool / "index", "--image", tmp_path / "none.png", "--clip", clip), "No such file"),
        (("show", tmp_path), "no index.json in the folder"),
        (("show", tmp_path / "nowhere"), f"no such index: {tmp_path / 'nowhere'}"),
        (("show", "nope"), "no such index: nope"),
        (("show", tmp_path / "text.png"), "is a file; give the folder of an index"),
        (("search", "nope", "--text", "a", "--clip", clip), "no such index: nope"),
        (("build", tmp_path / "text.png", "--out", tmp_path / "out", "--clip", clip), "is a file; give a folder"),
        (("build", pool / "pool", "--out", tmp_path / "text.png", "--clip", clip), "is a file; give the folder"),
        (("build", tmp_path / "none", "--out", tmp_path / "out", "--clip", clip), "no such folder"),
        (("build", tmp_path, "--out", tmp_path / "out", "--clip", pool / "pool"), "config.json"),
        (("build", pool / "pool", "--out", tmp_path / "out", "--clip", clip, "--device", "tpu"), "must be auto, cpu"),
    ]
    for arguments, message in mistakes:
        with pytest.raises(BenchError) as caught:
            run(*arguments)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unfinished_or_damaged_index_is_not_shown(pool, tmp_path):
    (tmp_path / "killed" / ".building").mkdir(parents=True)
    shutil.copytree(pool / "index", tmp_path / "cut")
    path = tmp_path / "cut" / "vectors.faiss"
    path.write_bytes(path.read_bytes()[:-1])
    shutil.copytree(pool / "index", tmp_path / "lost")
    (tmp_path / "lost" / "metadata.parquet").unlink()
    for name, message in (("killed", "an unfinished index; run"), ("cut", "is damaged"), ("lost", "is damaged")):
        with pytest.raises(BenchError) as caught:
            run("show", tmp_path / name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_hint_is_for_a_shell_and_a_chain_and_a_rebuild_is_said(pool, clip, tmp_path, capsys):
    photos = shutil.copytree(pool / "pool", tmp_path / "photos")
    arguments = ("build", photos, "--clip", clip, "--device", "cpu", "--out")
    run(*arguments, tmp_path / "idx ü")
    first = capsys.readouterr().out
    spec = first.splitlines()[-1].split(" --gen ")[1]
    assert shlex.split(spec) == [f"knn:pool={tmp_path / 'idx ü'},clip={clip}"]
    assert "built again" not in first
    (photos / "new.png").write_bytes(encoded(noise(1, seed=9)[0]))
    run(*arguments, tmp_path / "idx ü")
    assert "was built before; its pictures, captions or files changed" in capsys.readouterr().out
    for name in ("a+b", "a,b"):
        run(*arguments, tmp_path / name)
        (text,) = shlex.split(capsys.readouterr().out.splitlines()[-1].split(" --gen ")[1])
        (link,) = parse_chain(text)
        assert link.values == {"pool": str(tmp_path / name), "clip": str(clip)}


def test_a_folder_of_clip_retrieval_can_be_shown_and_searched(tmp_path, clip, capsys):
    import numpy as np

    rows = np.eye(24, dtype=np.float32)[:5]
    folder = write_clip_retrieval(tmp_path / "laion", rows, {"url": list("abcde"), "caption": list("vwxyz")})
    run("show", folder)
    assert capsys.readouterr().out.splitlines() == ["pictures   5, an index of clip-retrieval", "width      24"]
    run("search", folder, "--text", "a digit", "--clip", clip, "-k", 2)
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(UsageError, match="no index"):
        run("search", tmp_path, "--text", "a", "--clip", clip)
