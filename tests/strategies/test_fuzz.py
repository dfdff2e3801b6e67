"""Random questions to every registered strategy: an answer or words, never anything else. The long
form is scripts/fuzz.py.
"""

import numpy as np
import pytest
import torch

from coreset import registry, score_candidates, select
from coreset.fuzz import Question, ask, random_question
from coreset.score_based import ScoreBased
from coreset.testing import example_signals


def test_ten_questions_to_every_strategy():
    """Seeded, so the same questions everywhere."""
    count = {"answered": 0, "refused": 0}
    for index in range(10 * len(registry.names())):
        count[ask(random_question(0, index))] += 1
    assert count["answered"] > 2 * count["refused"]


def test_a_warning_a_wrong_answer_and_silence_about_the_column_are_caught():
    def question(**columns):
        return Question("margin", {}, 2, np.array([], int), np.arange(2), 1, 0, columns, {})

    class Strange:
        def __init__(self, error):
            self.error = error

        def __array__(self, dtype=None, copy=None):
            raise self.error

    assert ask(question(probs=[[0.5, 0.5], [1.0, 0.0]])) == "answered"
    assert ask(question()) == "refused"
    with pytest.raises(AssertionError, match="no column and no option"):
        ask(question(probs=Strange(ValueError("something"))))
    with pytest.raises(AssertionError, match="RuntimeWarning"):
        ask(question(probs=Strange(RuntimeWarning("something"))))


N = 24
X = np.random.default_rng(0).normal(size=(N, 4))
# strategies whose choice no multiple of the features changes, with the power of the factor in their
# scores
FREE = [
    ("kcenter", {"first": "center"}, 1),
    ("herding", {}, 1),
    ("disparity", {}, 1),
    ("kmeans", {}, 0),
    ("d2_sampling", {"variant": "adaptive"}, 2),
    ("typiclust", {"normalize": False, "smallest": 0}, -1),
    ("facility_location", {"similarity": "dot"}, 2),
    ("facility_location", {}, 0),
    ("facility_location", {"similarity": "rbf"}, 0),
    ("badge", {}, 2),
    ("craig", {"bias": False}, 1),
    ("gradmatch", {"bias": False}, None),
    ("kcenter_robust", {}, 1),
    ("moderate", {}, 1),
]


@pytest.mark.parametrize(("name", "options", "power"), FREE, ids=[f"{n}-{o}" for n, o, _ in FREE])
@pytest.mark.parametrize("exponent", [-900, -530, 90, 480])
def test_a_multiple_of_the_features_changes_no_choice(name, options, power, exponent):
    method = registry.strategy(name, options)
    columns = example_signals(N, method.needs)
    plain = select(method, 9, **columns)
    columns["features"] = columns["features"] * 2.0**exponent
    other = select(method, 9, **columns)
    assert other.indices.tolist() == plain.indices.tolist()
    if power is not None and plain.scores is not None and abs(power * exponent) < 1000:
        finite = np.isfinite(plain.scores)
        np.testing.assert_allclose(
            other.scores[finite] / 2.0 ** (power * exponent), plain.scores[finite], rtol=1e-9
        )
    if "cover_radius" in plain.info:
        assert other.info["cover_radius"] / 2.0**exponent == pytest.approx(
            plain.info["cover_radius"], rel=1e-12
        )


@pytest.mark.parametrize("name", ["glister", "bait", "probcover", "maxherding", "feature_based"])
def test_a_method_with_a_scale_of_its_own_refuses_what_is_too_large(name):
    options = {
        "probcover": {"normalize": False, "delta": 1.0},
        "maxherding": {"normalize": False},
        "feature_based": {"concave": "log"},
    }.get(name, {})
    method = registry.strategy(name, options)
    columns = example_signals(N, method.needs)
    columns["features"] = np.abs(columns["features"])
    columns["features"][3] *= 1e25
    with pytest.raises(ValueError, match="features: values up to"):
        select(method, 4, **columns)


@pytest.mark.parametrize(
    "name", ["badge", "maxherding", "uherding", "typiclust", "kcenter", "prototypes", "zcore"]
)
@pytest.mark.parametrize("factor", [1e7, 1e10, 1e25, 1e-160, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_row_far_off_does_not_break_the_rest(name, factor, dtype):
    options = {"zcore": {"samples": 200}}.get(name, {})
    method = registry.strategy(name, options)
    columns = example_signals(N, method.needs)
    x = columns["features"]
    x[3] *= min(factor, 1e38) if dtype == np.float32 else factor
    columns["features"] = x.astype(dtype)
    for k in (5, N):
        assert len(np.unique(select(method, k, **columns).indices)) == k


def test_cosine_methods_read_the_direction_of_a_row_at_any_length():
    scale = 10.0 ** np.random.default_rng(1).uniform(-150, 150, (N, 1))
    for name, options in [
        ("maxherding", {}),
        ("kcenter", {"normalize": True, "first": "center"}),
        ("prototypes", {}),
    ]:
        want = select(name, 8, features=X, options=options).indices.tolist()
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        assert select(name, 8, features=unit * scale, options=options).indices.tolist() == want


DTYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">u8"]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8, torch.int8, torch.int32, torch.uint16])
@pytest.mark.parametrize(
    "name",
    ["glister", "craig", "alfamix", "moderate", "stratified", "class_quota", "el2n", "herding"],
)
def test_labels_in_every_dtype_of_whole_numbers(name, dtype):
    method = registry.strategy(name, {"per_class": True} if name == "herding" else {})
    columns = example_signals(N, method.needs | method.needs_selected | {"labels"})
    if name == "alfamix":
        columns["logits"] = columns["features"] @ X[:6, :4]
    labels = columns["labels"]
    want = select(method, 7, **columns, selected=[0, 1, 2]).indices.tolist()
    columns["labels"] = (
        torch.tensor(labels).to(dtype) if isinstance(dtype, torch.dtype) else labels.astype(dtype)
    )
    assert select(method, 7, **columns, selected=[0, 1, 2]).indices.tolist() == want


def layouts(x, tmp_path):
    """The same numbers in memory in other ways."""
    np.save(tmp_path / "x.npy", x)
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((len(x), 2 * x.shape[1]), x.dtype)
    wide[:, ::2] = x
    yield from (
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        wide[:, ::2],
        frozen,
        np.load(tmp_path / "x.npy", mmap_mode="r"),
    )
    yield x.astype(x.dtype.newbyteorder(">"))
    yield x.astype(np.longdouble)
    yield torch.from_numpy(x).clone().requires_grad_()
    yield torch.from_numpy(np.asfortranarray(x))


@pytest.mark.parametrize("name", registry.names())
def test_features_in_every_layout(name, tmp_path):
    options = (
        {"epochs": 3}
        if name in ("coregcn", "discriminative")
        else {"samples": 50}
        if name == "zcore"
        else {}
    )
    method = registry.strategy(name, options)
    if "features" not in method.needs or "logits" in method.needs:
        pytest.skip("reads no features, or needs a head")
    columns = example_signals(N, method.needs | method.needs_selected)
    columns |= {n: np.arange(N) % 7 == 3 for n in ("query", "private") if n in method.needs}
    columns["features"] = np.abs(columns["features"])
    want = select(method, 7, **columns, selected=[0, 5]).indices.tolist()
    for x in layouts(columns["features"], tmp_path):
        assert (
            select(method, 7, **{**columns, "features": x}, selected=[0, 5]).indices.tolist()
            == want
        )


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        (lambda x: x.astype(complex), "complex128"),
        (lambda x: torch.from_numpy(x).to_sparse(), "dense tensor"),
        (lambda x: torch.from_numpy(x).to("meta"), "meta"),
        (lambda x: np.zeros(x.shape, "M8[s]"), "datetime64"),
        (lambda x: x > 0, "bool"),
        (lambda x: np.array([["a"] * 4] * N), "<U1"),
        (lambda x: x[:, :0], "at least one number"),
        (lambda x: __import__("scipy.sparse").sparse.csr_matrix(x), "toarray"),
        (lambda x: np.ma.masked_array(x, x == x[3, 1]), "no value for 1 of the 24"),
        (lambda x: with_none(x, 2), "no value for 1 of the 24"),
    ],
)
def test_what_is_no_column_of_numbers_is_refused_by_name(strange, words):
    with pytest.raises((ValueError, TypeError), match=f"features: .*{words}"):
        select("kcenter", 3, features=strange(X.copy()))


def with_none(x, row):
    out = x.astype(object)
    out[row, 0] = None
    return out.tolist()


def test_a_masked_or_missing_row_that_nothing_reads_is_no_matter():
    x = np.ma.masked_array(X, np.zeros(X.shape, bool))
    x[4] = np.ma.masked
    rest = np.delete(np.arange(N), 4)
    got = select("kcenter", 5, features=x, candidates=rest, seed=3).indices.tolist()
    assert got == select("kcenter", 5, features=X, candidates=rest, seed=3).indices.tolist()
    assert (
        select("kcenter", 5, features=X.tolist(), seed=3).indices.tolist()
        == select("kcenter", 5, features=X, seed=3).indices.tolist()
    )


def test_a_nullable_column_of_pandas_names_its_missing_rows():
    pd = pytest.importorskip("pandas")
    for kind, values in (("Float64", [0.1, None, 0.3, 0.2]), ("Int64", [1, None, 3, 2])):
        column = pd.Series(values, dtype=kind)
        with pytest.raises(ValueError, match=r"el2n: .*\b1\b.* examples .*, first position 1"):
            select("top_k", 1, el2n=column)
        assert select("top_k", 2, el2n=column, candidates=[0, 2, 3]).indices.tolist() == [2, 3]


def test_an_option_that_is_no_finite_number_is_refused_by_name():
    for name, options in (
        ("graph_cut", {"lam": np.inf}),
        ("self_filter", {"gamma": np.nan}),
        ("cluster_margin", {"factor": np.inf}),
    ):
        method = registry.strategy(name, options)
        with pytest.raises(ValueError, match=f"{next(iter(options))}: expected a finite number"):
            select(method, 2, **example_signals(N, method.needs))


@pytest.mark.parametrize(
    "name",
    [n for n in registry.names() if getattr(registry.load(n), "select", 0) is ScoreBased.select],
)
def test_the_score_of_every_candidate_is_that_of_the_choice(name):
    method = registry.strategy(name)
    columns = example_signals(N, method.needs | method.needs_selected)
    columns |= {n: np.arange(N) % 7 == 3 for n in ("query",) if n in method.needs}
    if name == "deepfool":
        columns["logits"] = columns["features"] @ np.random.default_rng(3).normal(size=(6, 4))
    if name == "votes":
        columns["influence"] = np.random.default_rng(3).normal(size=(N, 2))
    if name == "activelab":
        columns["annotator_labels"] = np.random.default_rng(3).integers(-1, 4, (N, 3))
    if name == "less":
        columns |= {"projected_gradients": X, "validation_task": np.where(np.arange(N) < 2, 0, -1)}
    scores = score_candidates(method, **columns, selected=[0, 1])
    answer = select(method, N - 2, **columns, selected=[0, 1])
    assert np.isnan(scores).tolist() == [True, True] + [False] * (N - 2)
    np.testing.assert_array_equal(scores[answer.indices], answer.scores)


def test_only_a_score_scores_candidates():
    with pytest.raises(TypeError, match="KCenterGreedy"):
        score_candidates("kcenter", features=X)
