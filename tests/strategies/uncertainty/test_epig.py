import numpy as np
import pytest

from coreset import Pool, Signals, select
from coreset.registry import strategy
from coreset.strategies.combine.stochastic_batch import StochasticBatch
from coreset.strategies.uncertainty.epig import Epig
from coreset.testing import check_strategy


def members(n=12, t=4, c=3, seed=0):
    z = 2 * np.random.default_rng(seed).normal(size=(n, t, c))
    e = np.exp(z)
    return e / e.sum(-1, keepdims=True)


def epig(p, targets):
    out = []
    for x in p:
        info = []
        for y in targets:
            joint = sum(np.outer(a, b) for a, b in zip(x, y, strict=True)) / len(x)
            info.append((joint * np.log(joint / np.outer(joint.sum(1), joint.sum(0)))).sum())
        out.append(np.mean(info))
    return np.array(out)


def test_default_targets_are_candidates_and_what_is_taken():
    p = members()
    chosen = select("epig", 10, member_probs=p, selected=[3, 4])
    want = epig(p, p)
    order = [i for i in np.argsort(-want) if i not in (3, 4)]
    assert chosen.indices.tolist() == order
    np.testing.assert_allclose(chosen.scores, want[order], atol=1e-12)


def test_a_column_names_the_targets_also_outside_the_candidates():
    p = members()
    target = np.arange(12) >= 8
    chosen = select(
        "epig", 8, member_probs=p, target=target, candidates=range(8), options={"column": "target"}
    )
    want = epig(p[:8], p[8:])
    np.testing.assert_allclose(chosen.scores, np.sort(want)[::-1], atol=1e-12)
    assert chosen.indices.tolist() == np.argsort(-want).tolist()


def test_a_sample_of_targets_is_keyed_by_id():
    p, ids, order = members(), np.arange(12) * 5, np.random.default_rng(0).permutation(12)
    a = Epig(targets=4).positions(Pool(12, ids=ids), Signals(12, member_probs=p))
    b = Epig(targets=4).positions(Pool(12, ids=ids[order]), Signals(12, member_probs=p[order]))
    c = Epig(targets=4, seed=1).positions(Pool(12, ids=ids), Signals(12, member_probs=p))
    assert ids[a].tolist() == ids[order][b].tolist()
    assert a.tolist() != c.tolist()
    got = select("epig", 12, member_probs=p, ids=ids, options={"targets": 4})
    np.testing.assert_allclose(got.scores, np.sort(epig(p, p[a]))[::-1], atol=1e-12)


def test_what_is_taken_is_read_only_where_it_is_a_target():
    assert Epig().needs_selected == {"member_probs"}
    assert Epig("target").needs_selected == frozenset()


def test_contract_and_refusals():
    check_strategy(strategy("epig"))
    check_strategy(Epig(targets=5))
    check_strategy(StochasticBatch(Epig()))
    p = members()
    with pytest.raises(ValueError, match="target: no example is a target"):
        select("epig", 1, member_probs=p, target=np.zeros(12, bool), options={"column": "target"})
    with pytest.raises(ValueError, match="target: expected a boolean column"):
        select("epig", 1, member_probs=p, target=np.zeros(12), options={"column": "target"})
    with pytest.raises(ValueError, match="targets"):
        Epig(targets=0)
    p[11] = np.nan
    with pytest.raises(ValueError, match="member_probs: 1 examples have NaN"):
        select(
            "epig",
            1,
            member_probs=p,
            target=np.arange(12) == 11,
            candidates=range(8),
            options={"column": "target"},
        )


def test_contract_with_a_column():
    columns = {"member_probs": members(48, 5, 4), "target": np.arange(48) % 3 == 0}
    check_strategy(Epig(column="target"), columns)
