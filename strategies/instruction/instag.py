"""InsTag: the most complex rows that between them cover the tags, again and again.

Lu, Yuan, Yuan, Lin, Lin, Tan, Zhou & Zhou, "#InsTag: Instruction Tagging for Analyzing Supervised
Fine-tuning of Large Language Models", ICLR 2024, its complexity-first diverse sampling
(arXiv:2308.07074). Complexity is the number of tags, diversity the coverage of tags.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coreset import Pool, Selection, Signals, Strategy
from coreset.strategies.instruction.common import by_id, tags_at


def coverage_rounds(tags: Sequence[Collection[str]]) -> NDArray[np.int64]:
    """Return the round in which each row is taken (n,), for rows in the order they are walked; -1
    for a row without tags.

    A round walks all rows not taken yet and takes those with a tag that no row of the round has.
    What a round has covered of a tag is decided by the rows before, whether or not it is over, so
    one walk does: after c rows that add to it a tag is covered in rounds 0 .. c-1, and a row is
    taken in the first round that lacks one of its tags.

    >>> coverage_rounds([["a", "b"], ["a"], ["b", "c"], ["a"]])
    array([0, 1, 0, 2])
    """
    covered: dict[str, int] = {}
    out = np.full(len(tags), -1, np.int64)
    for i, own in enumerate(tags):
        if own:
            turn = min(covered.get(t, 0) for t in own)
            out[i] = turn
            covered.update((t, turn + 1) for t in own if covered.get(t, 0) == turn)
    return out


@dataclass(frozen=True)
class InsTag(Strategy):
    """Walk the candidates by the number of their tags, most first, and take those that add a tag;
    when all are walked, begin again with nothing covered.

    `tags` (N,): a list of texts per example, each counted once; normalize them before (rare ones
    out, synonyms joined). Ties go to the lowest id. Candidates without tags come last of all; info
    `filled` says how many were needed, `rounds` how often the walk began. Examples already selected
    play no part. Scores: the number of tags.

    >>> from coreset import select
    >>> select("instag", 3, tags=[["a"], ["a", "b"], ["a", "b"], ["c"]]).indices
    array([1, 3, 2])
    """

    needs = frozenset({"tags"})

    def select(self, pool: Pool, signals: Signals, k: int, rng: np.random.Generator) -> Selection:
        """Return round after round."""
        at = by_id(pool)
        tags = tags_at(signals, at)
        size = np.array([len(t) for t in tags], np.int64)
        walk = np.argsort(-size, kind="stable")
        turn = coverage_rounds([tags[i] for i in walk.tolist()])
        order = np.argsort(np.where(turn < 0, len(turn), turn), kind="stable")[:k]
        picks = walk[order]
        info = {"rounds": int(turn[order].max()) + 1, "filled": int((turn[order] < 0).sum())}
        return Selection(at[picks], scores=size[picks].astype(np.float64), info=info)
