import pytest
from pools import write_pool_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write_pool_clip(tmp_path_factory.mktemp("pool-clip"))


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory):
    return write_pool_clip(tmp_path_factory.mktemp("other-clip"), seed=1, width=20)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Keep what is remembered between runs out of the user's own cache."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
