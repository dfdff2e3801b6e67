"""DataComp's count, against its released code written out again: threshold = -sort(-scores)[int(n
f)], kept from there on.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.curate import make_operators
from coreset.core.batch import as_batch, objects
from coreset.curation.operators.contract import run_in_memory
from coreset.curation.operators.quality import DataCompShare
from coreset.curation.operators.quality.share import share_threshold
from coreset.testing import check_operator

CONF = Path(__file__).parents[5] / "conf"


def kept(scores, **options):
    ids = [f"{i:04d}" for i in range(len(scores))]
    table = run_in_memory(DataCompShare(**options), as_batch({"id": ids, "clip_cosine": scores}))
    return np.array(table["keep"].to_pylist(), bool)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("n", [1, 2, 9, 10, 24, 333])
def test_one_more_than_the_share(n, share):
    scores = np.random.default_rng(n).permutation(n) / 7.0
    keep = kept(scores, share=share)
    in_order = sorted(scores.tolist(), reverse=True)
    assert keep.sum() == math.floor(n * share) + 1
    assert set(scores[keep].tolist()) == set(in_order[: math.floor(n * share) + 1])


def test_eight_of_24_at_three_tenths():
    assert kept(np.arange(24.0), share=0.3).sum() == 8


def test_equal_scores_are_all_kept():
    assert kept(np.array([0.5, 0.4, 0.4, 0.4, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0]), share=0.2).sum() == 4


def test_rows_without_a_score_do_not_count():
    scores = np.array([np.nan, 0.1, 0.2, np.nan, 0.3, 0.4, np.nan, np.nan])
    assert kept(scores, share=0.5).tolist() == [False, False, True, False, True, True, False, False]
    assert kept(np.full(3, np.nan)).tolist() == [False] * 3
    status = objects(["too_large", "ok", "ok", "too_large", "ok", "ok", "too_large", "x"])
    check_operator(DataCompShare(share=0.5), {"clip_cosine": scores, "clip_cosine_status": status})


def test_wrong_options():
    for share in (-0.1, 1, 1.5):
        with pytest.raises(ValueError, match=r"share: expected a share in \[0, 1\)"):
            DataCompShare(share=share)
        with pytest.raises(ValueError, match=r"share: expected a share in \[0, 1\)"):
            share_threshold([1.0], share)
    with pytest.raises(ValueError, match="scores: expected one number or more"):
        share_threshold([], 0.3)


def test_the_recipe():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "curate",
            [
                "input=x",
                "out=x",
                "recipe=datacomp_clip_released",
                "model.name=m",
                "recipe.share=0.25",
            ],
        )
    assert make_operators(OmegaConf.to_container(config, resolve=True))[-1] == DataCompShare(
        "clip_cosine", 0.25
    )
