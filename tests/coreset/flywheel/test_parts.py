"""Statistics, label errors, leaks and versions against their definitions."""

import dataclasses
import itertools
import json
import tracemalloc

import numpy as np
import pytest

from coreset.flywheel import Freeze
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.label_errors import confident_errors
from coreset.flywheel.leaks import find_leaks
from coreset.flywheel.power_law import fit_power_law, forecast
from coreset.flywheel.statistics import excess_test, mean_interval, paired_gain, rows_needed
from coreset.flywheel.tables import read_table
from coreset.flywheel.versions import Version, history
from tests.coreset.flywheel.worlds import NOW, flywheel, world


def test_the_excess_test_holds_its_level_when_slices_are_drawn_at_random():
    rng = np.random.default_rng(0)
    strata = rng.integers(3, size=400)
    errors = (rng.random(400) < np.array([0.05, 0.2, 0.5])[strata]).astype(float)
    low = [
        excess_test(errors, np.isin(strata, [1, 2]) & (rng.random(400) < 0.3), strata, rng)[1]
        < 0.05
        for _ in range(60)
    ]
    assert np.mean(low) <= 0.15


def test_the_excess_test_is_that_of_mantel_and_haenszel_for_errors_of_zero_and_one():
    rng = np.random.default_rng(1)
    strata = rng.integers(2, size=900)
    inside = rng.random(900) < 0.4
    errors = (rng.random(900) < 0.2 + 0.05 * inside).astype(float)
    total = expected = variance = 0.0
    for s in (0, 1):
        n, k = (strata == s).sum(), (inside & (strata == s)).sum()
        m = errors[strata == s].sum()
        total += errors[inside & (strata == s)].sum()
        expected += k * m / n
        variance += k * (n - k) * m * (n - m) / (n**2 * (n - 1))
    from scipy.stats import norm

    assert excess_test(errors, inside, strata, rng)[1] == pytest.approx(
        norm.sf((total - expected) / np.sqrt(variance)), rel=1e-9
    )


@pytest.mark.parametrize("kinds", [2, 4, 90])
def test_the_p_of_a_small_slice_is_the_share_of_all_ways_to_fill_it(kinds):
    """Two strata, one with 3 of 9 rows in the slice and one with 2 of 8: every way is looked at."""
    rng = np.random.default_rng(kinds)
    strata = np.repeat([0, 1], [9, 8])
    inside = np.isin(np.arange(17), [0, 4, 7, 10, 16])
    errors = rng.integers(kinds, size=17) / kinds + 0.3 * inside
    ways = [
        errors[list(a)].sum() + errors[list(b)].sum()
        for a in itertools.combinations(range(9), 3)
        for b in itertools.combinations(range(9, 17), 2)
    ]
    share = np.mean(np.array(ways) >= errors[inside].sum() - 1e-9)
    p = excess_test(errors, inside, strata, rng)[1]
    assert p == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 9999) + 1e-4)


def test_a_small_slice_of_many_rows_takes_no_memory_by_their_number():
    """200,000 rows: a table of all draws and rows would take 16 GB."""
    rng = np.random.default_rng(0)
    errors = rng.random(200_000).round(2)
    inside = np.arange(200_000) % 2000 == 0
    tracemalloc.start()
    p = excess_test(errors, inside, np.zeros(200_000, np.int64), rng)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.001 < p < 0.999
    assert peak < 300e6


@pytest.mark.parametrize(("p", "bar"), [(0.01, 0.002), (0.05, 0.001), (0.2, 0.01)])
def test_with_the_rows_needed_a_slice_is_named_in_four_of_five_cases(p, bar):
    from scipy.stats import norm

    rng = np.random.default_rng(3)
    rows = 50
    shift = norm.isf(p) / np.sqrt(rows)  # in deviations: what 50 rows with this p say of the mean
    needed = round(rows_needed(rows, p, bar))
    means = rng.normal(shift, 1, (4000, needed)).mean(axis=1)
    named = norm.sf(means * np.sqrt(needed)) <= bar
    assert named.mean() == pytest.approx(0.8, abs=0.03)
    assert rows_needed(50, 0.5, bar) == np.inf


def test_intervals_cover_and_seeds_widen_the_gain():
    rng = np.random.default_rng(2)
    covered = [
        (lambda i: i[0] <= 0.1 <= i[1])(mean_interval((rng.random(80) < 0.1).astype(float)))
        for _ in range(300)
    ]
    assert np.mean(covered) > 0.9
    before = (rng.random((1, 500)) < 0.3) * np.ones((3, 1))
    same, noisy = before * 0.5, before * np.array([[0.2], [0.5], [0.8]])
    narrow, wide = paired_gain(before, same), paired_gain(before, noisy)
    assert narrow[0] == pytest.approx(wide[0])
    assert wide[2] - wide[1] > narrow[2] - narrow[1]


def test_the_power_law_is_recovered_and_a_flat_curve_forecasts_nothing():
    n = np.array([50.0, 100.0, 200.0, 400.0])
    assert fit_power_law(n, (0.05 + 3 * n**-0.75)[None])[0] == pytest.approx([0.05, 3, 0.75])
    flat = np.tile((np.arange(300) < 30).astype(float), (4, 1))
    middle, _, high = forecast(n, flat, 400, [800], np.random.default_rng(0))
    assert abs(middle[0]) < 1e-12
    assert high[0] < 1e-9


def test_a_row_sure_of_another_class_is_an_error_and_an_unsure_one_is_not():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], 50)
    probs = np.full((150, 3), 0.1)
    probs[np.arange(150), labels] = 0.8
    given = labels.copy()
    wrong = rng.choice(150, 9, replace=False)
    given[wrong] = (labels[wrong] + 1) % 3
    unsure = np.setdiff1d(np.arange(150), wrong)[:5]
    probs[unsure] = [0.34, 0.33, 0.33]
    rows, scores, classes = confident_errors(probs, given)
    assert set(rows) == set(wrong)
    assert (classes == labels[rows]).all()
    assert (np.diff(scores) >= 0).all()


def test_a_metadata_column_of_content_is_hard_and_not_weak_unless_it_lacks_rows(tmp_path):
    for content, verdict in (((), "weak"), (("look",), "hard")):
        data, truth, _ = world(weak=False, pool=100)
        blurred = np.random.default_rng(1).random(len(data.ids)) < 0.2
        x = data.features.copy()
        x[blurred] = np.random.default_rng(2).normal(size=(int(blurred.sum()), 6))
        look = np.where(data.roles == "pool", "", np.where(blurred, "blurred", "sharp"))
        data = dataclasses.replace(data, features=x, metadata={"look": look})
        stages = {"mine": Dies(), "diagnose": Diagnose(content=content)}
        wheel = flywheel(tmp_path / verdict, data, truth, stages=stages)
        wheel.init(Freeze(clusters=0, leaks="drop"))
        with pytest.raises(Stopped):
            wheel.turn(100, now=NOW)
        table = read_table(wheel.folder / "turns/001/diagnose-slices.parquet")
        at = table["name"].tolist().index("look=blurred")
        assert table["verdict"][at] == verdict
        assert table["ratio"][at] == pytest.approx(1, abs=0.3)  # of rows whose look is known


@pytest.mark.slow
def test_false_names_are_rare_where_nothing_is_weak(tmp_path):
    names = []
    for seed in range(40):
        data, truth, _ = world(weak=False, seed=seed)
        wheel = flywheel(tmp_path / str(seed), data, truth, stages={"mine": Dies()})
        wheel.init(Freeze(clusters=8, leaks="drop"))
        with pytest.raises(Stopped):
            wheel.turn(100, now=NOW)
        facts = json.loads((wheel.folder / "turns/001/diagnose.json").read_text())["facts"]
        names += [bool(facts["weak"])]
    assert sum(names) <= 5  # 5 % of 40 are 2; more than 5 have a chance of 1.4 %


class Stopped(BaseException):
    pass


class Dies:
    def run(self, turn):
        raise Stopped


def test_a_leak_by_group_by_copy_and_by_near_copy_is_flagged_with_its_evidence():
    data, _, _ = world(pool=60, train=60)
    x, groups = data.features.copy(), np.full(len(data.ids), "", "<U4")
    train, test = data.at("train"), data.at("test")
    x[train[0]], x[train[1]] = x[test[0]], x[test[1]] + 1e-5
    groups[[train[2], test[2]]] = "g7"
    got = find_leaks(dataclasses.replace(data, features=x, groups=groups), train, 0.25)
    assert got["id"] == data.ids[train[:3]].tolist()
    assert got["frozen_id"] == data.ids[test[:3]].tolist()
    assert got["why"] == ["copy", "near copy in features", "same group"]
    assert got["distance"][1] < got["threshold"][1]
    assert find_leaks(data, train, 0.25)["id"] == []


def test_a_version_remembers_why_and_notices_a_changed_file(tmp_path):
    one = Version(1, ["b", "a"], [1, 0], ["start", "start"], [0, 0])
    two = one.changed(1, added={"c": (1, "weak")}, relabeled={"a": (1, "looked wrong")})
    three = two.changed(2, removed=["a"])
    for before, version in ((None, one), (one, two), (two, three)):
        version.save(tmp_path, before)
    events = history(tmp_path, "a")
    assert [(e["version"], e["label"], e["reason"]) for e in events] == [
        (1, 0, "start"), (2, 1, "looked wrong"), (3, None, "removed"),
    ]  # fmt: skip
    assert history(tmp_path, "nobody") == []
    assert Version(9, ["a", "b"], [0, 1], ["x", "y"], [3, 4]).key == one.key
    with pytest.raises(ValueError, match="'b' is in already"):
        two.changed(2, added={"b": (0, "again")})
    (tmp_path / f"{two.name}.parquet").write_bytes((tmp_path / f"{one.name}.parquet").read_bytes())
    with pytest.raises(ValueError, match="changed"):
        Version.load(tmp_path, two.name)


def test_croissant_names_the_file_its_hash_and_its_columns(tmp_path):
    import hashlib
    import json

    from coreset.flywheel.croissant import write_croissant

    version = Version(1, ["b", "a"], [1, 0], ["start", "start"], [0, 0])
    version.save(tmp_path)
    metadata = json.loads(
        write_croissant(tmp_path, version, "x", "https://spdx.org/licenses/MIT").read_text()
    )
    (file,) = metadata["distribution"]
    assert (
        file["sha256"] == hashlib.sha256((tmp_path / file["contentUrl"]).read_bytes()).hexdigest()
    )
    columns = [f["source"]["extract"]["column"] for f in metadata["recordSet"][0]["field"]]
    assert columns == ["id", "label", "reason", "turn"]
    assert [e["version"] for e in history(tmp_path, "a")] == [1]
