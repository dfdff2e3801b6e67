import numpy as np
import pytest

from coreset.trainers.data.sources import digits
from coreset.trainers.flywheel import split


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_roles_have_their_shares_where_the_test_set_was_split_off_by_the_same_seed(seed):
    data = digits()
    roles, labels = split(data, {"train": 0.1, "dev": 0.2, "canary": 0.05}, seed)
    counts = {r: int((roles == r).sum()) for r in ("train", "dev", "canary", "test")}
    n = len(data)
    assert counts["test"] == len(data.test_labels)
    for name, share in (("train", 0.1), ("dev", 0.2), ("canary", 0.05)):
        assert abs(counts[name] - share * n) < 4 * np.sqrt(share * (1 - share) * n)
    assert len(labels) == len(roles)
