import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, pearsonr

from coreset.numerics.random import keyed_order, keyed_uniform, salt

MASK = 2**64 - 1


def splitmix_twice(salt, i):
    """The same hash in Python's own whole numbers."""
    x = (i + salt * 0x9E3779B97F4A7C15) & MASK
    for _ in range(2):
        x = (x + 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
    return ((x >> 11) + 0.5) * 2.0**-53


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**63 - 1), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8)
)
def test_values_of_integer_ids(key, ids):
    got = keyed_uniform(key, np.array(ids, np.int64))
    assert got.tolist() == [splitmix_twice(key, i & MASK) for i in ids]


IDS = {
    "int": np.arange(20_000),
    "far": np.arange(20_000) * 2**40,
    "str": np.array([f"train/{i:06d}.jpg" for i in range(20_000)]),
    "object": np.array([f"é{i}" for i in range(20_000)], object),
}


@pytest.mark.parametrize("kind", IDS)
def test_uniform_open_and_distinct(kind):
    u = keyed_uniform(7, IDS[kind])
    assert u.dtype == np.float64
    assert u.min() > 0
    assert u.max() < 1
    assert len(np.unique(u)) == len(u)
    assert kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", IDS)
def test_salts_and_neighbors_are_independent(kind):
    ids = IDS[kind]
    first = keyed_uniform(0, ids)
    for other in (1, 2, 2**32, 2**63 - 1):
        assert abs(pearsonr(first, keyed_uniform(other, ids)).statistic) < 0.03
        assert kstest((first + keyed_uniform(other, ids)) % 1, "uniform").pvalue > 1e-3
    assert abs(pearsonr(first[:-1], first[1:]).statistic) < 0.03
    by_salt = np.array([keyed_uniform(s, ids[:1])[0] for s in range(2000)])
    assert kstest(by_salt, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", IDS)
def test_neither_order_nor_company_matters(kind):
    ids = IDS[kind][:500]
    order = np.random.default_rng(0).permutation(500)
    whole = keyed_uniform(3, ids)
    np.testing.assert_array_equal(keyed_uniform(3, ids[order]), whole[order])
    np.testing.assert_array_equal(
        np.concatenate([keyed_uniform(3, part) for part in np.array_split(ids, 7)]), whole
    )


def test_how_an_id_is_stored_does_not_matter():
    want = keyed_uniform(5, np.array([3, 200]))
    for dtype in (np.int16, np.uint8, np.uint64):
        np.testing.assert_array_equal(keyed_uniform(5, np.array([3, 200], dtype)), want)
    texts = np.array(["a", "bcd"])
    for same in (texts.astype(object), texts.astype("U90")):
        np.testing.assert_array_equal(keyed_uniform(5, same), keyed_uniform(5, texts))
    assert len(keyed_uniform(5, texts[:0])) == 0
    keyed_uniform(5, np.array([b"\xff", b"a"]))


def test_keyed_order_sorts_the_numbers_and_takes_one_draw():
    ids = IDS["str"][:100]
    rng, same = np.random.default_rng(4), np.random.default_rng(4)
    order = keyed_order(rng, ids)
    assert order.tolist() == np.argsort(keyed_uniform(salt(same), ids)).tolist()
    assert rng.random() == same.random()
    shuffled = np.random.default_rng(0).permutation(ids)
    assert shuffled[keyed_order(np.random.default_rng(4), shuffled)].tolist() == ids[order].tolist()
