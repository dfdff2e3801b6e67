import numpy as np
import pytest
import torch

from coreset.distillation import Diverged, Progress
from coreset.distillation.descend import descend, sgd
from coreset.distillation.progress import GOOD, STATE

START = {"x": torch.tensor([3.0, -2.0]), "y": torch.tensor([1.0])}


def pull(step, now):
    noise = np.random.default_rng([7, step]).normal()
    loss = (now["x"].square().sum() + now["y"].square().sum()) * (1 + 0.1 * noise)
    loss.backward()
    return float(loss.detach())


class Killed(Exception):
    pass


def test_sgd_with_momentum_is_the_formula():
    x, v = np.array([3.0, -2.0]), 0.0
    for step in range(5):
        v = 0.5 * v + 2 * x * (1 + 0.1 * np.random.default_rng([7, step]).normal())
        x = x - 0.05 * v
    np.testing.assert_allclose(descend(START, pull, 5, sgd(0.05))["x"].numpy(), x, rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer", [sgd(0.05), lambda t: torch.optim.Adam(list(t), lr=0.1, betas=(0.5, 0.9))]
)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, optimizer):
    whole = descend(
        START, pull, 20, optimizer, Progress(tmp_path / "a", key="k"), lambda step: 1 / (1 + step)
    )

    def killed(step, now):
        if step == 12:
            raise Killed
        return pull(step, now)

    place = Progress(tmp_path / "b", key="k", every=0.0)
    with pytest.raises(Killed):
        descend(START, killed, 20, optimizer, place, lambda step: 1 / (1 + step))
    done, _ = place.load()
    assert done == 12
    seen = []
    again = descend(
        START,
        lambda s, now: seen.append(s) or pull(s, now),
        20,
        optimizer,
        place,
        lambda step: 1 / (1 + step),
    )
    assert seen[0] == 12
    for name in START:
        assert torch.equal(whole[name], again[name])


def test_a_state_of_something_else_is_not_taken_up(tmp_path):
    descend(START, pull, 3, sgd(0.05), Progress(tmp_path, key="one"))
    assert Progress(tmp_path, key="two").load() is None
    assert Progress(tmp_path, key="one").load()[0] == 3
    Progress(tmp_path).clear()
    assert not (tmp_path / STATE).exists()


def test_nan_stops_with_the_last_good_state(tmp_path):
    seen = []

    def breaks(step, now):
        seen.append({k: v.detach().clone() for k, v in now.items()})
        loss = pull(step, now)
        return float("nan") if step == 6 else loss

    with pytest.raises(Diverged, match=r"nan at step 6.*smaller learning rate.*last_good"):
        descend(START, breaks, 10, sgd(0.05), Progress(tmp_path))
    step, good = Progress(tmp_path).load(GOOD)
    assert step == 5
    for name in START:
        assert torch.equal(good[name], seen[5][name])


def test_images_that_are_no_numbers_in_the_end_stop_too():
    def jump(step, now):
        now["x"].grad = torch.full_like(now["x"], float("inf"))
        now["y"].grad = torch.zeros_like(now["y"])
        return 1.0

    with pytest.raises(Diverged):
        descend(START, jump, 1, sgd(1.0))


def test_loss_is_told():
    told = []
    descend(START, pull, 3, sgd(0.05), Progress(show=lambda *a: told.append(a)))
    assert [t[:2] for t in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[0][2] == pytest.approx(14 * (1 + 0.1 * np.random.default_rng([7, 0]).normal()))
