"""How many draws and seeds show a difference: parts of the variance by hand, and predictions against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from simulated import simulate

from benchbench.statistics.designs import MOST, Spread, least, needed, shows, spread_of
from benchbench.statistics.families import detectable
from benchbench.statistics.trainings import difference

DEVIATIONS = (0.3, 0.4, 0.4)


def trainings(rights: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    return {place: rights[place] for place in np.ndindex(rights.shape[:2])}


def pair(rng: np.random.Generator, draws: int, seeds: int):
    theirs, ours = simulate(rng, (1, draws, seeds, 500), DEVIATIONS)
    return trainings(ours[0]), trainings(theirs[0])


def test_parts_of_the_variance_by_hand():
    """Two draws of two seeds, one of them right on one image more each time; the baseline is never right."""
    right = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    ours = {divmod(place, 2): np.array(row, bool) for place, row in enumerate(right)}
    theirs = {place: np.zeros(4, bool) for place in ours}
    found = spread_of([(ours, theirs)], whole=False)
    # Training means 1/2, 3/4 | 1/4, 1/2: variance 1/32 within each draw; draw means 5/8, 3/8: variance 1/32.
    assert found.within == pytest.approx(1e4 / 32)
    assert found.between == pytest.approx(1e4 * (1 / 32 - 1 / 64))
    # Draws by images [[1, 1, 1/2, 0], [1, 1/2, 0, 0]]: means of images 1, 3/4, 1/4, 0, of all 1/2.
    of_images, total = 2 * (1 / 4 + 1 / 16 + 1 / 16 + 1 / 4) / 3, 3.5 - 8 * 0.25
    rest = (total - 4 * (1 / 32) - 3 * of_images) / 3
    assert found.images == pytest.approx(1e4 * (of_images - rest) / 8)
    twice = spread_of([(ours, theirs), (ours, theirs)], whole=False)
    assert (twice.within, twice.images) == pytest.approx((found.within / 2, found.images))


def test_what_a_design_shows_by_hand():
    spread = Spread(between=4.0, within=2.0, images=1.0)
    variance, of_draws = 4 / 5 + 2 / 15 + 1, 4 / 5 + 2 / 15
    df = 4 * (variance / of_draws) ** 2
    crossed = (stats.t.ppf(1 - 0.05 / 4, df) + stats.t.ppf(0.8, df)) * variance**0.5
    alone = (stats.t.ppf(1 - 0.05 / 4, 4) + stats.t.ppf(0.8, 4)) * of_draws**0.5
    assert shows(spread, 5, 3, rows=2) == pytest.approx(max(crossed, alone))
    assert shows(spread, 1, 3, rows=2) is None
    assert shows(Spread(None, 2.0, 1.0), 5, 3, rows=2) is None
    whole = Spread(4.0, None, 1.0, whole=True)
    assert shows(whole, 1, 5, rows=2) == shows(Spread(4.0, None, 1.0), 5, 1, rows=2)


def test_the_fewest_draws_are_found_and_what_none_shows():
    spread = Spread(between=9.0, within=None, images=0.25)
    count = needed(spread, 3.0, rows=4)
    assert shows(spread, count, 1, 4) <= 3.0 < shows(spread, count - 1, 1, 4)
    assert least(spread, 4) == shows(spread, MOST, MOST, 4)
    assert needed(spread, 1.0, rows=4) is None  # the test images alone leave more
    assert needed(Spread(None, 9.0, 0.25), 3.0, rows=4) is None
    more_seeds = Spread(between=1.0, within=9.0, images=0.25)
    assert needed(more_seeds, 3.0, 4, seeds=5) < needed(more_seeds, 3.0, 4, seeds=1)


def test_predictions_hold_for_other_designs():
    """From 40 draws of four seeds: what 5 x 1 and 8 x 3 show, in the mean of simulated studies."""
    rng = np.random.default_rng(3)
    known = spread_of([pair(rng, 40, 4)], whole=False)
    for draws, seeds in ((5, 1), (8, 3)):
        studies = [detectable(difference(*pair(rng, draws, seeds), whole=False), 3) for _ in range(60)]
        assert shows(known, draws, seeds, 3) == pytest.approx(np.mean(studies), rel=0.15)


def test_what_cannot_be_told():
    rng = np.random.default_rng(4)
    ours, theirs = pair(rng, 1, 3)
    one_draw = spread_of([(ours, theirs)], whole=False)
    assert one_draw.between is None
    assert one_draw.within > 0
    assert spread_of([(ours, theirs)], whole=True).whole
    assert spread_of([({(0, 0): ours[0, 0]}, theirs)], whole=True) is None
    assert spread_of([], whole=False) is None
    assert spread_of([({}, theirs)], whole=False) is None
    assert spread_of([pair(rng, 3, 1)], whole=False).within is None


def test_splits_anew_keep_a_part_that_no_split_reduces():
    ours, theirs = pair(np.random.default_rng(5), 4, 1)
    found = spread_of([(ours, theirs)], whole=True, split_anew=0.25)
    means = [100 * (ours[draw, 0].mean() - theirs[draw, 0].mean()) for draw in range(4)]
    assert (found.between, found.images) == pytest.approx((np.var(means, ddof=1), np.var(means, ddof=1) / 4))
