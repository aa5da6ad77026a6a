import pytest
from mini_sd import write_mini_sd


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    return write_mini_sd(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def mini_v(tmp_path_factory):
    return write_mini_sd(tmp_path_factory.mktemp("mini-v"), prediction_type="v_prediction")
