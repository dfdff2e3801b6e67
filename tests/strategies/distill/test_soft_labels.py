"""Soft labels after a subset: what is chosen, what is labeled, the same bits, what is refused."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from coreset.distillation import Progress, Source, Synthetic, Teacher, distill
from coreset.distillation.distiller import distiller
from coreset.distillation.nn.convnet import convnet, random_net
from coreset.strategies.combine.mixture import Mixture
from coreset.strategies.coverage.kcenter import KCenterGreedy
from coreset.strategies.distill.dm import Dm
from coreset.strategies.distill.rded import Rded
from coreset.strategies.distill.soft_labels import SoftLabels, choose

CLASSES = ("a", "b", "c")
QUICK = {
    "dm": Dm(steps=3, width=4, real=8, pool=2),
    "dm_decode": Dm(steps=2, width=4, real=8, pool=2, decode=2),
    "rded": Rded(images=10, crops=2),
    "rded_tiles": Rded(images=15, crops=2, factor=2, decode=True),
}


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60) % 3)
    images = (rng.integers(0, 120, (60, 8, 8, 1)) + 50 * labels[:, None, None, None]).astype(
        np.uint8
    )
    return {"images": images, "labels": labels, "classes": CLASSES, "mean": (0.4,), "std": (0.25,)}


def teacher(network=None, epoch=None):
    """A random network for every epoch."""
    return Teacher(
        random_net(convnet(3, 1, 8, width=8), 7 if epoch is None else epoch), CLASSES, epoch or 7
    )


def source(pool, **rest):
    return Source(**pool, teacher=teacher, **rest)


def run(pool, ipc=2, seed=0, progress=None, **options):
    return distill(
        "soft_labels", ipc, **pool, seed=seed, options=options, teacher=teacher, progress=progress
    )


def test_a_selection_is_made_within_each_class_of_what_the_teacher_sees(pool):
    s = source(pool)
    t = teacher()
    rows = choose(KCenterGreedy(first="center"), s, t, 3, 0)
    assert s.labels[rows].tolist() == np.repeat([0, 1, 2], 3).tolist()
    x = t.model.embed(s.tensor(np.arange(60))).double().numpy()
    for c in range(3):
        own = np.flatnonzero(s.labels == c)
        picks = [own[cdist(x[own], x[own].mean(0, keepdims=True))[:, 0].argmin()]]
        while len(picks) < 3:
            picks.append(own[cdist(x[own], x[picks]).min(1).argmax()])
        assert rows[3 * c : 3 * c + 3].tolist() == [int(p) for p in picks]


@pytest.mark.parametrize("base", ["random", "kcenter", "margin", *QUICK])
@pytest.mark.parametrize("labels", ["fixed", "crops", "online"])
def test_every_base_with_every_kind_of_label(pool, tmp_path, base, labels):
    options = {"base": QUICK.get(base, base), "labels": labels, "crops": 3, "hard": 0.25}
    one, two = run(pool, **options), run(pool, **options)
    method = SoftLabels(**options)
    assert one.kind == {"fixed": "logits", "crops": "crops", "online": "online"}[labels]
    assert one.temperature == {"fixed": 1.0, "crops": 20.0, "online": 20.0}[labels]
    assert one.hard.tolist() == [0, 0, 1, 1, 2, 2]
    assert one.mix == 0.25
    for name in ("images", "labels", "views"):
        a, b = getattr(one, name), getattr(two, name)
        assert a is b is None or a.tobytes() == b.tobytes()
    assert one.info["method"] == "SoftLabels"
    assert one.info["base"]["method"] == type(method.method).__name__
    if labels == "online":
        with pytest.raises(ValueError, match="cost the teacher's weights"):
            method.image_bytes((1, 8, 8), 3)
    else:
        assert one.nbytes == 6 * method.image_bytes((1, 8, 8), 3)
    back = Synthetic.load(one.save(tmp_path / "set"))
    assert back.nbytes == one.nbytes
    if isinstance(method.base, str):
        rows = np.array(one.info["base"]["ids"])
        np.testing.assert_array_equal(one.images, pool["images"][rows].transpose(0, 3, 1, 2))
    if labels == "fixed":
        x = torch.from_numpy(one.normalized())
        np.testing.assert_array_equal(one.labels, teacher().logits(x).numpy().astype(np.float16))


def test_epochs_temperatures_and_seeds_are_heard(pool):
    early, late = run(pool, epoch=1), run(pool, epoch=2)
    assert early.images.tobytes() == late.images.tobytes()
    assert early.labels.tobytes() != late.labels.tobytes()
    assert early.info["teacher"] == {"name": "teacher", "epoch": 1, "accuracy": None}
    assert run(pool, temperature=3.0).temperature == 3.0
    assert run(pool, labels="online", epoch=2).info["online"]["epoch"] == 2
    assert run(pool).images.tobytes() != run(pool, seed=1).images.tobytes()
    # no mirrors: they are another class
    assert not run(pool, labels="crops", crops=4).views[..., 4].any()


def test_a_run_that_was_killed_goes_on_to_the_same_bits(pool, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        if step == 2 and steps == where:
            raise Killed

    options = {"base": QUICK["dm"], "labels": "crops", "crops": 5}
    whole = run(pool, **options)
    for where in (3, 5):
        place = tmp_path / str(where)
        with pytest.raises(Killed):
            run(pool, **options, progress=Progress(place, kill, every=0.0))
        again = run(pool, **options, progress=Progress(place))
        assert whole.images.tobytes() == again.images.tobytes()
        assert whole.labels.tobytes() == again.labels.tobytes()
        assert not list(place.rglob("state.safetensors"))


def test_bad_input_is_named(pool):
    with pytest.raises(ValueError, match="same classes in another order"):
        distill(
            "soft_labels", 1, **pool,
            teacher=lambda network=None, epoch=None: Teacher(convnet(3, 1, 8, width=4), CLASSES[::-1]),
        )  # fmt: skip
    with pytest.raises(ValueError, match="needs a teacher"):
        distill("soft_labels", 1, **pool)
    with pytest.raises(ValueError, match="Forgetting needs forgetting; a teacher gives features"):
        run(pool, base="forgetting")
    with pytest.raises(ValueError, match="weighs its choices"):
        run(pool, base="craig", ipc=3)
    with pytest.raises(KeyError, match="kcentre"):
        SoftLabels(base="kcentre")
    with pytest.raises(ValueError, match="soft_labels once more"):
        SoftLabels(base="soft_labels")
    with pytest.raises(ValueError, match=r"take 24 .* class 'a' has 20"):
        run(pool, ipc=6, base=Rded(images=30, factor=2))
    for option, value in (
        ("labels", "both"),
        ("hard", 1.5),
        ("temperature", 0.0),
        ("crops", 0),
        ("cutmix", -1.0),
    ):
        with pytest.raises(ValueError, match=option):
            SoftLabels(**{option: value})


def test_strategies_made_of_others_are_bases_too(pool):
    distilled = run(pool, base=Mixture())
    assert distilled.counts.tolist() == [2, 2, 2]
    assert distiller("soft_labels").parameters()["base"] == "random"
