import numpy as np
import pytest

from coreset.scorers import cache
from coreset.scorers.ratio import contrast


class Known:
    """Spans that are their own losses."""

    def totals(self, spans):
        return np.array([float(np.sum(s)) for s in spans]), np.array(
            [len(s) for s in spans], np.int64
        )


def test_all_tokens_of_several_spans_weigh_the_same():
    got = contrast(Known(), [[(1.0, 2.0), (6.0,)], [], [(5.0,)]], [[(1.0,), (2.0,)], [], [()]])
    assert got.full.tolist()[:1] == [3.0]
    assert got.reduced.tolist()[:1] == [1.5]
    assert (got.n_full.tolist(), got.n_reduced.tolist()) == ([3, 0, 1], [2, 0, 0])
    assert got.of_losses()[0] == 2.0
    assert got.of_perplexities()[0] == pytest.approx(np.exp(1.5))
    assert np.isnan(got.of_losses()[1:]).all()
    assert np.isnan(got.of_perplexities()[1:]).all()


def test_nothing_infinite():
    got = contrast(Known(), [[(1.0,)], [(2000.0,)]], [[(0.0,)], [(1.0,)]])
    assert np.isnan(got.of_losses()[0])
    assert np.isnan(got.of_perplexities()[1])


def test_both_sides_belong_together():
    with pytest.raises(ValueError, match="1 answers with a full context, 0 with a reduced one"):
        contrast(Known(), [[(1.0,)]], [])


def test_the_store_of_answers(tmp_path):
    file = tmp_path / "deep" / "a.sqlite"
    keys = [f"judge {i}" for i in range(1200)]
    cache.write(file, {k: '{"cost": 0.5}' for k in keys})
    cache.write(file, {"other": '{"cost": 9}'})
    assert set(cache.read(file, [*keys, "none"])) == set(keys)
    assert cache.total(file, "judge ") == 600
    assert cache.total(tmp_path / "no.sqlite", "judge ") == 0
    (tmp_path / "bad.sqlite").write_text(
        "not a database at all, and long enough to be looked at" * 50
    )
    with pytest.raises(ValueError, match="cache: .*bad.sqlite cannot be used"):
        cache.read(tmp_path / "bad.sqlite", ["a"])
