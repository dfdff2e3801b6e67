import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset import Pool, Selection, Signals, Strategy
from coreset.core.pool import as_indices
from coreset.core.signals import check_column
from coreset.core.strategy import Oracle, Scorer

RNG = np.random.default_rng(0)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(-3, n + 2), max_size=12))
    )
)
def test_as_indices_takes_exactly_distinct_positions_inside(case):
    size, values = case
    inside = all(0 <= v < size for v in values)
    if inside and len(set(values)) == len(values):
        out = as_indices(values, size, "rows")
        assert out.dtype == np.int64
        assert out.tolist() == values
    else:
        with pytest.raises(ValueError, match="rows: "):
            as_indices(values, size, "rows")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_as_indices_reads_masks(mask):
    assert as_indices(mask, len(mask), "rows").tolist() == [i for i, m in enumerate(mask) if m]


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([3], ValueError, "rows: 1 positions lie outside the dataset of 3 examples, first 3"),
        ([0, -1], ValueError, "first -1"),
        (np.array([2**64 - 1], np.uint64), ValueError, "outside"),
        ([2, 1, 1, 2, 2], ValueError, "rows: 2 positions occur more than once, first 1"),
        (
            [0.0, 1.0],
            TypeError,
            "rows: expected a one-dimensional list of whole numbers, got float64",
        ),
        (["a"], TypeError, "whole numbers, got <U1"),
        (5, TypeError, r"with shape \(\)"),
        ([[0, 1]], TypeError, r"shape \(1, 2\)"),
        ([True], ValueError, r"rows: a mask must have shape \(3,\).*\(1,\)"),
    ],
)
def test_as_indices_says_what_is_wrong(values, error, words):
    with pytest.raises(error, match=words):
        as_indices(values, 3, "rows")


def test_as_indices_keeps_order_copies_and_reads_torch():
    given = np.array([2, 0])
    out = as_indices(given, 3, "rows")
    out[0] = 1
    assert given.tolist() == [2, 0]
    assert as_indices(torch.tensor([2, 1]), 3, "rows").tolist() == [2, 1]
    assert as_indices([], 3, "rows").dtype == np.int64


def test_pool_fills_sorts_and_checks():
    pool = Pool(np.int64(5), selected=[3], candidates=[4, 0])
    assert pool.candidates.tolist() == [0, 4]
    assert pool.ids.tolist() == [0, 1, 2, 3, 4]
    assert Pool(3, [1], np.array([True, False, False])).candidates.tolist() == [0]
    assert len(Pool(2, [0, 1]).candidates) == 0
    for size in (0, -1, True, 2.0, "3"):
        with pytest.raises(ValueError, match="size: expected the number of examples"):
            Pool(size)
    with pytest.raises(ValueError, match="candidates: 1 of them are already selected, first 3"):
        Pool(5, [3], [3, 4])
    with pytest.raises(ValueError, match=r"ids: expected shape \(3,\).*\(2,\)"):
        Pool(3, ids=["a", "b"])
    with pytest.raises(ValueError, match="ids: 1 names occur more than once, first .*'a'"):
        Pool(3, ids=["a", "b", "a"])


def test_signals_align_rows():
    s = Signals(4)
    s.put("loss", [3, 1], [9.0, 7.0])
    assert s.at("loss", [1, 3]).tolist() == [7.0, 9.0]
    s.put("loss", [1], [5.0])
    assert s.at("loss", [3, 1]).tolist() == [9.0, 5.0]
    with pytest.raises(
        ValueError, match="loss: no value for 1 of the 2 examples asked for, first position 0"
    ):
        s.at("loss", [0, 1])
    s.put("loss", None, np.arange(4.0))
    assert s.at("loss", [0]).tolist() == [0.0]
    assert s.names == {"loss"}


def test_a_column_may_have_any_name():
    assert Signals(2, size=[3, 4], self=[5, 6]).at("size", [1]).tolist() == [4]


def test_signals_do_not_copy_or_write_to_whole_columns():
    x = np.arange(4.0)
    s = Signals(4, x=x)
    assert s.column("x") is x
    s.put("x", [0], [9.0])
    assert x.tolist() == [0, 1, 2, 3]
    assert s.column("x").tolist() == [9, 1, 2, 3]
    t = torch.arange(4.0)
    assert Signals(4, t=t).column("t") is t
    assert isinstance(Signals(4, t=t).at("t", [2, 0]), torch.Tensor)


def test_signals_in_parts_keep_fractions_and_long_texts():
    s = Signals(3)
    s.put("loss", [0], [1])
    s.put("loss", [1], [0.5])
    assert s.at("loss", [0, 1]).tolist() == [1.0, 0.5]
    s.put("name", [0], ["a"])
    s.put("name", [1], ["long"])
    assert s.at("name", [0, 1]).tolist() == ["a", "long"]
    s.put("half", [0], np.float16([0.25]))
    assert s.column("half").dtype == np.float16


def test_a_new_width_replaces_a_column_in_parts():
    s = Signals(3)
    s.put("probs", [0, 1, 2], np.full((3, 2), 0.5))
    s.put("probs", [1], np.full((1, 4), 0.25))
    with pytest.raises(ValueError, match="probs: no value for 1 of the 2"):
        s.at("probs", [0, 1])


def test_signals_say_what_is_wrong():
    s = Signals(3, a=[1, 2, 3])
    with pytest.raises(KeyError, match="signal 'b' is missing; present: a"):
        s.column("b")
    with pytest.raises(KeyError, match="present: none"):
        Signals(3).column("b")
    with pytest.raises(ValueError, match=r"b: expected 3 rows, one per example, got shape \(2,\)"):
        s.put("b", None, [1, 2])
    with pytest.raises(ValueError, match=r"b: 2 positions but values of shape \(1,\)"):
        s.put("b", [0, 1], [1])
    with pytest.raises(ValueError, match="b: expected one value per example, got a single number"):
        s.put("b", None, 1.0)
    with pytest.raises(ValueError, match="b: indices: 1 positions lie outside"):
        s.put("b", [3], [1])


def test_selection_checks_and_prefix():
    s = Selection(
        [4, 1, 3], [1, 2, 3], [0.3, 0.2, 0.1], ["a", "b", "c"], np.array(["x", "y", "z"]), {"k": 1}
    )
    p = s.prefix(2)
    assert (p.indices.tolist(), p.weights.tolist(), p.scores.tolist()) == (
        [4, 1],
        [1, 2],
        [0.3, 0.2],
    )
    assert (list(p.reasons), p.ids.tolist(), p.info, len(p)) == (
        ["a", "b"],
        ["x", "y"],
        {"k": 1},
        2,
    )
    assert s.prefix(9).indices.tolist() == [4, 1, 3]
    for name, values, words in [
        ("weights", [1], r"weights: expected shape \(3,\).*\(1,\)"),
        ("scores", [[1, 2, 3]], r"scores: expected shape \(3,\)"),
        ("reasons", ["a"], "reasons: expected 3 entries.*got 1"),
        ("ids", [1, 2], "ids: expected 3 entries.*got 2"),
    ]:
        with pytest.raises(ValueError, match=words):
            Selection([4, 1, 3], **{name: values})
    for wrong in ([0.5, 1.0], [True, False], [[0, 1]]):
        with pytest.raises(
            TypeError, match="indices: expected a one-dimensional list of positions"
        ):
            Selection(wrong)


def test_selection_of_a_dataset():
    data = torch.utils.data.TensorDataset(torch.arange(5) * 10)
    assert [int(x[0]) for x in Selection([4, 1]).of(data)] == [40, 10]
    assert len(Selection([]).of(data)) == 0
    with pytest.raises(ValueError, match="the dataset has 5 examples but position 7 was chosen"):
        Selection([7]).of(data)


@pytest.mark.parametrize("ids", [np.array(["ä b.jpg", 'c,"d'])[::-1], np.array([2**62, -5]), None])
def test_selection_round_trip(tmp_path, ids):
    info = {
        "strategy": "A",
        "parameters": {"b": [1, None]},
        "radius": np.float32(0.5),
        "count": np.int64(3),
    }
    old = Selection(
        [4, 1],
        [0.5, np.pi],
        [np.inf, -1.0],
        ["first", 'say "no"'],
        ids,
        {**info, "sizes": np.arange(2000)},
    )
    new = Selection.load(old.save(tmp_path / "deep" / "er.parquet"))
    for name in ("indices", "weights", "scores"):
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name), strict=True)
    assert list(new.reasons) == list(old.reasons)
    assert (new.ids is None) if ids is None else (new.ids.tolist() == ids.tolist())
    assert new.info == {**info, "radius": 0.5, "count": 3, "sizes": list(range(2000))}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["er.parquet"]


def test_selection_round_trip_of_bare_and_empty(tmp_path):
    for indices in ([3, 1], []):
        new = Selection.load(Selection(indices).save(tmp_path / "s.parquet"))
        assert new.indices.tolist() == indices
        assert new.indices.dtype == np.int64
        assert (new.weights, new.scores, new.reasons, new.ids, new.info) == (
            None,
            None,
            None,
            None,
            {},
        )


def test_loading_another_file_is_refused(tmp_path):
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(
        ValueError, match=r"x.parquet: not a saved selection, it has no column 'index' but \['a'\]"
    ):
        Selection.load(tmp_path / "x.parquet")


def rows(n):
    return np.arange(n)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("features", np.ones(4), r"features: expected shape \(N, D\), got \(4,\)"),
        (
            "features",
            np.ones((4, 2), np.uint8),
            "features: expected floating-point values, got .*uint8",
        ),
        (
            "member_probs",
            np.full((4, 2), 0.5),
            r"member_probs: expected shape \(N, T, C\), got \(4, 2\)",
        ),
        ("member_probs", np.ones((4, 0, 2)), "at least one member"),
        ("labels", np.ones(4), "labels: expected whole numbers .*got .*float64"),
        ("labels", np.ones((4, 1), np.int64), r"labels: expected shape \(N,\), got \(4, 1\)"),
        (
            "logits",
            np.full((4, 2), 0.5),
            "logits: every row is non-negative and sums to 1: these are probabilities; give them as probs$",
        ),
        ("logits", np.full((4, 2), 50.0), "sums to 100: these are .*as probs, divided by 100"),
        (
            "probs",
            np.full((4, 2), 0.4),
            "probs: 4 rows are no probabilities .*first position 0; pass logits",
        ),
        ("probs", np.array([[0.5, 0.5], [1.5, -0.5]]), "probs: 1 rows .*first position 1"),
        (
            "features",
            np.array([[0.0], [np.nan], [1.0]]),
            "features: 1 examples have NaN or infinite.*first position 1",
        ),
        ("features", np.array([[0.0, 0.0], [np.inf, -np.inf]]), "features: 1 examples"),
        ("loss", np.array([0.0, -np.inf]), "loss: 1 examples have NaN or infinite"),
    ],
)
def test_wrong_columns_are_refused_in_words(kind, name, values, words):
    with pytest.raises(ValueError, match=words):
        check_column(name, kind(values), rows(len(values)))


def test_texts_and_objects_are_no_labels_and_no_features():
    with pytest.raises(ValueError, match="labels: expected whole numbers"):
        check_column("labels", np.array(["cat", "dog"]), rows(2))
    with pytest.raises(ValueError, match="features: expected floating-point values, got object"):
        check_column("features", np.array([[1.0], [2.0]], object), rows(2))


def test_only_the_rows_asked_for_are_checked_and_named_in_the_whole_dataset():
    x = np.full((9, 2), np.nan)
    x[[2, 5]] = 1.0
    check_column("features", x, np.array([5, 2]))
    with pytest.raises(ValueError, match="1 examples .*first position 7"):
        check_column("features", x, np.array([5, 7]))


def test_blocks_see_every_row():
    wide = np.zeros((3000, 2000), np.float32)  # more than one block
    check_column("features", wide, rows(3000))
    wide[2999, 1999] = np.nan
    with pytest.raises(ValueError, match="first position 2999"):
        check_column("features", wide, rows(3000))
    with pytest.raises(ValueError, match="first position 2999"):
        check_column("features", wide, np.r_[0:2500, 2999])


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_half_precision_probabilities_pass(classes):
    logits = np.random.default_rng(0).normal(size=(50, classes)) * 3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    check_column("probs", p.astype(np.float16), rows(50))
    check_column(
        "probs",
        torch.as_tensor(p).bfloat16() if classes == 2 else torch.as_tensor(p).half(),
        rows(50),
    )
    check_column("member_probs", p.astype(np.float16)[:, None], rows(50))


def test_finite_values_that_overflow_when_added_pass():
    check_column("features", np.full((2, 4), 1e308), rows(2))
    check_column("features", torch.full((2, 4), 1e300, dtype=torch.float64), rows(2))


@dataclass(frozen=True)
class Answers(Strategy):
    """Return what it is told."""

    answer: Selection = None
    needs = frozenset({"x"})

    def select(self, pool, signals, k, rng):
        return self.answer


def call(answer, k=2, pool=None, **columns):
    pool = Pool(4, [0], ids=["a", "b", "c", "d"]) if pool is None else pool
    return Answers(answer)(
        pool, Signals(4, **(columns or {"x": np.ones(4)})), k, np.random.default_rng(0)
    )


def test_a_call_checks_the_answer_and_adds_ids_and_parameters():
    out = call(Selection([3, 1], info={"variant": "v"}))
    assert out.ids.tolist() == ["d", "b"]
    assert out.info["strategy"] == "Answers"
    assert set(out.info) == {"strategy", "parameters", "variant"}
    for answer, words in [
        (Selection([3]), "1 examples instead of 2"),
        (Selection([3, 3]), "an example twice"),
        (Selection([3, 0]), "no candidate"),
        (Selection([3, 1], [1, np.nan]), "not finite"),
        (Selection([3, 1], [1, -1]), "negative weight"),
        (Selection([3, 1], [0, 0]), "only zero weights"),
    ]:
        with pytest.raises(AssertionError, match=f"Answers returned .*{words}"):
            call(answer)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_outside_the_candidates(k):
    with pytest.raises(ValueError, match=rf"k: expected 1 to 3 \(the candidates left\), got {k}"):
        call(None, k)


@pytest.mark.parametrize("k", [True, 1.0, "2", None])
def test_k_of_another_kind(k):
    with pytest.raises(TypeError, match="k: expected a whole number of examples, got"):
        call(None, k)


def test_question_and_columns_must_fit():
    with pytest.raises(ValueError, match="signals describe 4 examples but the pool has 5"):
        call(None, pool=Pool(5))
    with pytest.raises(KeyError, match="signal 'x' is missing; present: y"):
        call(None, y=np.ones(4))
    with pytest.raises(
        ValueError, match="x: 1 examples have NaN or infinite values, first position 2"
    ):
        call(None, x=np.array([0, 1, np.nan, 2]))
    call(Selection([3, 1]), x=np.array([np.nan, 1, 1, 2]))  # position 0 is taken and not read


def test_protocols():
    class Ours:
        needs = frozenset()
        gives = frozenset({"a"})

        def __call__(self, batch):
            return {}

        def label(self, indices):
            return indices

    assert isinstance(Ours(), Scorer)
    assert isinstance(Ours(), Oracle)
    assert not isinstance(object(), Scorer)


def test_the_words_need_neither_torch_nor_lightning():
    code = (
        "import sys, coreset.core.strategy; print([m for m in ('torch', 'pytorch_lightning', 'hydra',"
        " 'pandas') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert json.loads(out.stdout.replace("'", '"')) == []


def test_masks_of_positions_ids_and_lists_are_not_ignored():
    """What lies under a mask is no position, no name and no number."""
    masked = np.ma.masked_array([1, 2], mask=[False, True])
    for name in ("selected", "candidates"):
        with pytest.raises(ValueError, match=f"{name}: expected a value in every place, 1 of 2"):
            Pool(4, **{name: masked})
    with pytest.raises(ValueError, match="ids: expected a value in every place"):
        Pool(2, ids=masked)
    rows = [np.ma.masked_array([1.0, 5.0], mask=[False, i == 1]) for i in range(3)]
    with pytest.raises(ValueError, match="no value for 1 of the 3 .* first position 1"):
        Signals(3, features=rows).at("features", [0, 1, 2])
    with pytest.raises(ValueError, match="no value for 1 of the 2"):
        Signals(2, loss=[1.0, np.ma.masked]).at("loss", [0, 1])


def test_a_masked_tensor_is_refused_by_name():
    with pytest.warns(UserWarning, match="prototype"):
        column = torch.masked.masked_tensor(torch.ones(3, 2), torch.ones(3, 2) > 0)
    with pytest.raises(ValueError, match="features: expected a plain tensor, got a MaskedTensor"):
        check_column("features", column, np.arange(3))
