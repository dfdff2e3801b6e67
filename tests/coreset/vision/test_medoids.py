import numpy as np
import pytest

from coreset.testing import check_strategy
from coreset.vision import BoxSets, Detections, landmark_features
from coreset.vision.medoids import SetKCenter, SetKMedoids, farthest_first, k_medoids


def sets(images=40, seed=0):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, images, 4 * images))
    n = len(image)
    return BoxSets.of(
        Detections(
            np.arange(images),
            image,
            np.zeros((n, 4)),
            rng.uniform(0.2, 1, n),
            rng.integers(0, 3, n),
            features=rng.normal(size=(n, 6)),
        )
    )


def test_farthest_first_against_the_whole_matrix():
    distance = sets()
    d = distance.between(np.arange(40))
    candidates, centers = np.arange(5, 40), np.array([0, 3])
    picks, radii = farthest_first(distance, 12, candidates, centers, -1)
    taken, want, reach = list(centers), [], []
    for _ in range(12):
        near = [min(d[i, c] for c in taken) if i not in taken else -1.0 for i in candidates]
        at = int(np.argmax(near))
        want.append(int(candidates[at]))
        reach.append(near[at])
        taken.append(want[-1])
    assert picks.tolist() == want
    np.testing.assert_allclose(radii, reach, atol=1e-5)


def test_medoids_against_the_whole_matrix():
    distance = sets(seed=3)
    d = distance.between(np.arange(40))
    np.fill_diagonal(d, 0)
    candidates = np.arange(4, 40)
    seeds, _ = farthest_first(distance, 5, candidates, np.empty(0, np.int64), 10)
    assert seeds[0] == 10
    medoids = seeds.tolist()
    while True:
        cluster = {m: [] for m in medoids}
        for i in candidates.tolist():
            cluster[i if i in cluster else min(medoids, key=lambda m: d[i, m])].append(i)
        moved = [
            min(members, key=lambda i: sum(d[i, j] for j in members))
            for members in cluster.values()
        ]
        if moved == medoids:
            break
        medoids = moved
    got, sizes = k_medoids(distance, seeds, candidates)
    assert got.tolist() == medoids
    assert sizes.tolist() == [len(c) for c in cluster.values()]


def test_duplicates_keep_every_medoid_in_its_own_cluster():
    same = BoxSets.of(
        Detections(
            np.arange(4),
            np.arange(4),
            np.zeros((4, 4)),
            np.ones(4),
            np.ones(4),
            features=np.ones((4, 2)),
        )
    )
    medoids, sizes = k_medoids(same, np.array([0, 1]), np.arange(4))
    assert sorted(medoids.tolist()) == [0, 1]
    assert sizes.sum() == 4
    assert farthest_first(same, 3, np.arange(4), np.empty(0, np.int64), 2)[0].tolist() == [
        2,
        0,
        1,
    ]  # ties go to the lowest


@pytest.mark.parametrize("kind", [SetKCenter, SetKMedoids])
def test_contract_where_the_pool_stays_in_place(kind):
    from coreset.core.pool import Pool
    from coreset.core.signals import Signals

    distance = sets()
    pool = Pool(40, selected=[1, 2], candidates=np.arange(3, 38))
    medoids = kind(distance)
    for k in (1, 7, 35):
        a, b = (medoids(pool, Signals(40), k, np.random.default_rng(5)) for _ in range(2))
        assert a.indices.tolist() == b.indices.tolist()
    if medoids.greedy:
        assert (
            medoids(pool, Signals(40), 20, np.random.default_rng(5)).prefix(7).indices.tolist()
            == medoids(pool, Signals(40), 7, np.random.default_rng(5)).indices.tolist()
        )


def test_landmarks_open_other_strategies_to_the_distance():
    from coreset import select

    distance = sets()
    features = landmark_features(distance, 6)
    d = distance.between(np.arange(40))
    assert features.shape == (40, 6)
    for column in features.T:
        np.testing.assert_allclose(column, d[:, int(np.argmin(column))], atol=1e-6)
    assert len(select("kcenter", 5, features=features)) == 5
    with pytest.raises(ValueError, match="1 to 40 landmarks"):
        landmark_features(distance, 41)


def test_images_must_be_the_pools_in_its_order():
    from coreset.core.pool import Pool
    from coreset.core.signals import Signals

    for medoids in (SetKCenter(sets()), SetKMedoids(sets())):
        with pytest.raises(ValueError, match=r"make it of detections.align\(pool\)"):
            medoids(Pool(40, ids=np.arange(40)[::-1]), Signals(40), 2, np.random.default_rng(0))


def test_strategies_of_this_kind_are_strategies():
    from coreset.vision import RandomForeground

    check_strategy(RandomForeground(), None)
