"""Cuts found by counting, against sorting everything."""

from dataclasses import dataclass

import numpy as np
import pytest

from coreset.curation.engines.local import Local
from coreset.curation.runtime.refine import Target, ascending, refine, text_words


@dataclass
class Item:
    """Rows with a value, a text and a position."""

    group: np.ndarray
    value: np.ndarray
    text: list
    position: np.ndarray

    def words(self, level, rows):
        if level == 0:
            return ascending(self.value[rows])
        if level <= 3:
            return text_words([self.text[i] for i in rows], level - 1)
        return self.position[rows].astype(np.uint64)


class Counting(Local):
    """Counts calls."""

    calls = 0

    def map(self, step, items):
        type(self).calls += 1
        return super().map(step, items)


def rows(rng, n, groups, values):
    """Rows with ties in value and in text."""
    value = rng.choice(values, n)
    text = [bytes(rng.choice([b"shared-prefix-", b"", b"sh"])) + b"%d" % i
            for i in rng.integers(0, 6, n)]  # fmt: skip
    return Item(rng.integers(0, groups, n), value, text, np.arange(n))


VALUES = {
    "ties": np.array([0.0, -0.0, 1.0]),
    "spread": np.concatenate([np.linspace(-1e300, 1e300, 40), [5e-324, -5e-324, np.inf, -np.inf]]),
    "close": 1.0 + np.arange(50) * 2.0**-52,
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("seed", range(5))
def test_rows_up_to_a_target_are_the_first_of_its_group(kind, seed):
    rng = np.random.default_rng(seed)
    n, groups = 400, 3
    whole = rows(rng, n, groups, VALUES[kind])
    cuts = np.sort(rng.integers(0, n, 4))
    items = [
        Item(whole.group[p], whole.value[p], [whole.text[i] for i in p], p)
        for p in np.split(np.arange(n), cuts)
    ]
    sizes = np.bincount(whole.group, minlength=groups)
    targets = [Target(g, int(k)) for g in range(groups)
               for k in rng.integers(1, sizes[g] + 1, 4)]  # fmt: skip
    answers = refine(Local(), lambda item: item, items, targets)
    for asked, target in zip(targets, answers, strict=True):
        mine = np.flatnonzero(whole.group == asked.group)
        order = sorted(mine, key=lambda i: (whole.value[i], whole.text[i], i))
        got = mine[target.up_to(whole, mine)]
        assert sorted(got.tolist()) == sorted(int(i) for i in order[: asked.need])


def test_rounds_do_not_grow_with_rows():
    rng = np.random.default_rng(0)
    calls = []
    for n in (1_000, 300_000):
        item = Item(np.zeros(n, np.int64), rng.normal(size=n), [b""] * n, np.arange(n))
        Counting.calls = 0
        (target,) = refine(Counting(), lambda one: one, [item], [Target(0, n // 3)])
        kept = target.up_to(item, np.arange(n))
        assert kept.sum() == n // 3
        assert item.value[kept].max() < item.value[~kept].min()
        calls.append(Counting.calls)
    assert calls[1] <= calls[0] + 2 <= 6


def test_many_targets_are_counted_in_bounded_memory():
    rng = np.random.default_rng(0)
    groups, n = 5_000, 20_000
    item = Item(np.arange(n) % groups, rng.normal(size=n), [b""] * n, np.arange(n))
    answers = refine(Local(), lambda one: one, [item], [Target(g, 2) for g in range(groups)])
    for target in answers[::400]:
        mine = np.flatnonzero(item.group == target.group)
        best = mine[np.argsort(item.value[mine])[:2]]
        assert sorted(mine[target.up_to(item, mine)]) == sorted(best)
