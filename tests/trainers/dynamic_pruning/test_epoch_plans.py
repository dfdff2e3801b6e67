"""Plans against loops written from the papers' text; what changes, what must not, and two
processes.
"""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.core.signals import Signals
from coreset.registry import strategy
from coreset.trainers.dynamic_pruning.epoch_plans import RS2, Adaptive, InfoBatch
from tests.processes import CONTEXT


def losses(n, seed=0):
    return np.random.default_rng(seed).gamma(1.0, size=n)


def by_row(answer):
    return dict(zip(answer[0].tolist(), answer[1].tolist(), strict=True))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.9])
def test_infobatch_keeps_all_hard_and_an_exact_share_of_the_easy(ratio):
    n, loss = 200, losses(200)
    plan = InfoBatch(ratio).over(n, seed=4)
    assert by_row(plan.epoch(0, 0.0)) == dict.fromkeys(range(n), 1.0)
    plan.update(np.arange(n), loss)
    got = by_row(plan.epoch(1, 0.1))
    easy = [i for i in range(n) if loss[i] < sum(loss) / n]
    hard = [i for i in range(n) if i not in easy]
    kept = [i for i in got if i in easy]
    assert all(got[i] == 1 for i in hard)
    assert len(kept) == int(round((1 - ratio) * len(easy), 9))
    assert all(got[i] == pytest.approx(1 / (1 - ratio)) for i in kept)


def test_infobatch_keeps_the_expected_gradient():
    n, loss = 300, losses(300)
    total = np.zeros(n)
    epochs = 400
    plan = InfoBatch(0.5, 1.0).over(n)
    plan.update(np.arange(n), loss)
    for epoch in range(1, epochs + 1):
        rows, weights = plan.epoch(epoch, 0.0)
        total[rows] += weights
    assert total.mean() / epochs == pytest.approx(1, abs=0.01)  # 1 up to rounding the count down
    easy = loss < loss.mean()
    assert (total[~easy] == epochs).all()
    # sd of a mean of 0 and 2 is 1 / sqrt(epochs)
    assert np.abs(total[easy] / epochs - 1).max() < 5 / np.sqrt(epochs)


def test_infobatch_ends_on_all_data_and_prunes_anew_each_epoch():
    n = 100
    plan = InfoBatch(0.5, 0.875).over(n, seed=1)
    sizes, seen = [], []
    for epoch in range(16):
        rows, _ = plan.epoch(epoch, epoch / 16)
        sizes.append(len(rows))
        seen.append(frozenset(rows.tolist()))
        plan.update(rows, losses(n)[rows])
    assert sizes[0] == sizes[14] == sizes[15] == n  # 14 / 16 = 0.875
    assert max(sizes[1:14]) < n
    assert len(set(seen[1:14])) == 13


def test_infobatch_left_out_examples_keep_their_loss_and_unknown_ones_are_hard():
    plan = InfoBatch(0.5, 1.0).over(8)
    plan.update(torch.arange(6), torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0, float("nan")]))
    rows, _ = plan.epoch(1)
    assert set(rows.tolist()) >= {4, 5, 6, 7}
    assert len(rows) == 6
    out = sorted(set(range(8)) - set(rows.tolist()))
    plan.update([i for i in range(8) if i not in out], np.full(6, 5.0))
    assert set(plan.epoch(2)[0].tolist()) >= set(range(8)) - set(out)
    assert plan.losses[out].tolist() == [0.0, 0.0]


def test_positions_beyond_2_24_and_half_precision_losses_stay_exact():
    rows = np.array([3, 70_001, 2**24 + 1, 2**24 + 3, 2**40 + 1])
    plan = InfoBatch(0.5, 1.0).over(rows)
    plan.update(
        torch.from_numpy(rows), torch.tensor([0.25, 0.5, 0.75, 1.0, 64.0], dtype=torch.float16)
    )
    got, _ = plan.epoch(1)
    assert set(got.tolist()) <= set(rows.tolist())
    assert plan.losses.tolist() == [0.25, 0.5, 0.75, 1.0, 64.0]
    assert 2**40 + 1 in got


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.data())
def test_rs2_uses_up_the_pool_before_it_comes_again(n, data):
    k = data.draw(st.integers(1, n))
    plan = RS2().over(n, k=k, seed=data.draw(st.integers(0, 5)))
    epochs = [plan.epoch(e)[0].tolist() for e in range(3 * -(-n // k))]
    counts = np.zeros(n, int)
    for rows in epochs:
        assert len(rows) == len(set(rows)) == k
        counts[rows] += 1
        assert counts.max() - counts.min() <= 2
        if counts.sum() % n == 0:
            assert counts.max() == counts.min()
    later = RS2().over(n, k=k, seed=plan.seed)
    for e in (len(epochs) - 1, 0, len(epochs) // 2):  # any epoch alone, in any order
        assert later.epoch(e)[0].tolist() == epochs[e]


def test_rs2_subsets_are_random():
    together = np.zeros((10, 10))
    for seed in range(600):
        rows = RS2().over(10, k=5, seed=seed).epoch(0)[0]
        together[np.ix_(rows, rows)] += 1
    off = together[~np.eye(10, dtype=bool)] / 600
    assert np.abs(off - 5 / 10 * 4 / 9).max() < 0.09


@pytest.mark.parametrize(
    "plan", [InfoBatch(), RS2(), Adaptive(every=2, kappa=0.3, strategy=strategy("random"))]
)
def test_seed_decides_not_the_arrangement_and_global_state_is_left_alone(plan):
    n = 60
    names = np.array([f"img{i:03d}" for i in range(n)])
    order = np.random.default_rng(1).permutation(n)
    loss = losses(n)

    def run(ids, at, seed):
        p = plan.over(n, k=20, ids=ids, seed=seed)
        out = []
        for epoch in range(6):
            if isinstance(p, Adaptive) and p.due(epoch, epoch / 6):
                p.choose(epoch, Signals(n))
            rows, weights = p.epoch(epoch, epoch / 6)
            p.update(rows, loss[at][rows])
            out.append((ids[rows].tolist(), weights.tolist()))
        return out

    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one = run(names, np.arange(n), 0)
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert one == run(names, np.arange(n), 0)
    for a, b in zip(one, run(names[order], order, 0), strict=True):
        assert dict(zip(*a, strict=True)) == dict(zip(*b, strict=True))
        assert a[0] == b[0]
    assert one != run(names, np.arange(n), 1)


@pytest.mark.parametrize(
    "plan", [InfoBatch(), RS2(), Adaptive(every=2, kappa=0.3, strategy=strategy("random"))]
)
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "state", "torch"])
def test_goes_on_exactly_from_anywhere(plan, how, tmp_path):
    n = 50
    loss = losses(n)

    def step(p, epoch, half):
        if half == 0:
            if isinstance(p, Adaptive) and p.due(epoch, epoch / 8):
                p.choose(epoch, Signals(n))
            p.epoch(epoch, epoch / 8)
        rows, weights = p.epoch(epoch, epoch / 8)
        part = np.array_split(rows, 2)[half]
        p.update(part, loss[part] / (epoch + 1))
        return rows.tolist(), weights.tolist()

    whole = plan.over(n, k=17, seed=2)
    every = [(e, h) for e in range(8) for h in (0, 1)]
    want = [step(whole, *s) for s in every]
    for cut in range(0, 16, 3):
        p = plan.over(n, k=17, seed=2)
        for s in every[:cut]:
            step(p, *s)
        if how == "pickle":
            p = pickle.loads(pickle.dumps(p))
        elif how == "deepcopy":
            p = copy.deepcopy(p)
        else:
            state = p.state_dict()
            if how == "torch":
                torch.save(state, tmp_path / "s")
                state = torch.load(tmp_path / "s", weights_only=True)
            p = plan.over(n, k=17, seed=2)
            p.load_state_dict(state)
        assert [step(p, *s) for s in every[cut:]] == want[cut:]


def test_adaptive_warms_up_then_chooses_by_the_strategy_and_again_every_r_epochs():
    n, k = 40, 10
    plan = Adaptive(every=3, kappa=0.5, strategy=strategy("margin")).over(n, k=k)
    chosen_at, sizes = [], []
    for epoch in range(12):
        progress = min(1.0, epoch / 12 * plan.stretch)  # kappa E k / n = 1.5 epochs of all data
        probs = np.random.default_rng(epoch).dirichlet(np.ones(3), size=n)
        if plan.due(epoch, progress):
            plan.choose(epoch, Signals(n, probs=probs))
            chosen_at.append(epoch)
            top = np.sort(probs, axis=1)
            want = set(np.argsort(top[:, -1] - top[:, -2], kind="stable")[:k].tolist())
        rows, weights = plan.epoch(epoch, progress)
        sizes.append(len(rows))
        if chosen_at:
            assert set(rows.tolist()) == want
            assert (weights == 1).all()
    assert sizes == [n, n] + [k] * 10
    assert chosen_at == [2, 5, 8, 11]


def test_adaptive_weights_have_mean_one_and_follow_their_rows():
    n, k = 30, 8
    rng = np.random.default_rng(0)
    signals = Signals(
        n,
        features=rng.normal(size=(n, 5)),
        probs=rng.dirichlet(np.ones(3), size=n),
        labels=np.arange(n) % 3,
    )
    plan = Adaptive(kappa=0, strategy=strategy("craig")).over(n, k=k, seed=3)
    plan.choose(0, signals)
    rows, weights = plan.epoch(0)
    from coreset.core.pool import Pool

    direct = strategy("craig")(Pool(n), signals, k, np.random.default_rng([3, 1, 0]))
    want = dict(
        zip(direct.indices.tolist(), (direct.weights / direct.weights.mean()).tolist(), strict=True)
    )
    assert by_row((rows, weights)) == pytest.approx(want)
    assert plan.weights_of(rows[:3]).tolist() == weights[:3].tolist()
    with pytest.raises(ValueError, match="not in epoch 0"):
        plan.weights_of(np.setdiff1d(np.arange(n), rows)[:1])


def test_only_the_pool_is_used():
    rows = np.array([40, 2, 17, 9, 33])
    for plan in (InfoBatch(), RS2(), Adaptive(kappa=0, strategy=strategy("kcenter"))):
        p = plan.over(rows, k=3)
        if isinstance(p, Adaptive):
            p.choose(0, Signals(50, features=np.random.default_rng(0).normal(size=(50, 2))))
        assert set(p.epoch(0)[0].tolist()) <= set(rows.tolist())
        p.update([3], [0.5])
        with pytest.raises(ValueError, match="position 3 is not in this plan's pool"):
            p.epoch(1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InfoBatch(1.0), "ratio"),
        (lambda: InfoBatch(delta=1.5), "delta"),
        (lambda: Adaptive(every=0), "every"),
        (lambda: Adaptive(kappa=-1), "kappa"),
        (lambda: RS2().over(5, k=6), "k: expected 1 to 5"),
        (lambda: RS2().over([]), "rows"),
        (lambda: Adaptive(kappa=0).over(4).choose(0, Signals(4)), "strategy"),
        (lambda: RS2().over(4).load_state_dict(RS2().over(5).state_dict()), "size"),
        (lambda: RS2().over(4).update([1], [[1.0]]), "losses"),
    ],
)
def test_wrong_use_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_choose_is_not_forgotten():
    with pytest.raises(RuntimeError, match="call choose"):
        Adaptive(kappa=0, strategy=strategy("random")).over(4, k=2).epoch(0)


def _process(rank, world, port, queue):
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    try:
        from coreset.trainers.dynamic_pruning.sampler import EpochSampler

        n = 41
        plan = InfoBatch(0.5, 1.0).over(n, seed=7)
        sampler = EpochSampler(plan)
        out = []
        for epoch in range(4):
            sampler.set_epoch(epoch)
            mine = list(sampler)
            half = len(mine) // 2
            plan.update(mine[:half], losses(n, epoch)[mine[:half]])
            state = plan.state_dict()  # in mid-epoch, on all ranks
            plan.update(mine[half:], losses(n, epoch)[mine[half:]])
            out.append(
                (plan.epoch(epoch)[0].tolist(), mine, sorted(state["pending_rows"].tolist()))
            )
        queue.put((rank, out))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_choose_the_same_and_share_it():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    queue = CONTEXT.Queue()
    processes = [CONTEXT.Process(target=_process, args=(r, 2, port, queue)) for r in range(2)]
    for p in processes:
        p.start()
    got = dict(queue.get(timeout=120) for _ in processes)
    for p in processes:
        p.join()
    alone = InfoBatch(0.5, 1.0).over(41, seed=7)
    for epoch in range(4):
        rows, _ = alone.epoch(epoch)
        alone.update(rows, losses(41, epoch)[rows])
        (all0, mine0, half0), (all1, mine1, half1) = got[0][epoch], got[1][epoch]
        assert all0 == all1 == rows.tolist()  # the same choice as one process makes
        assert len(mine0) == len(mine1)
        assert set(mine0) | set(mine1) == set(all0)
        assert len(mine0) + len(mine1) - len(all0) == len(all0) % 2
        assert half0 == half1 == sorted(mine0[: len(mine0) // 2] + mine1[: len(mine1) // 2])
