"""The joint of labels against enumeration in plain numpy."""

import itertools

import numpy as np
import pytest
import torch

from coreset.strategies.uncertainty.information import JointLabels, expected_predictive_information


def members(n, t, c, seed=0, sharp=2.0):
    z = sharp * np.random.default_rng(seed).normal(size=(n, t, c))
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def joint_entropy(p):
    """H(y_1 ... y_b) in nats by enumeration of C^b configurations; p (b, T, C)."""
    h = 0.0
    for labels in itertools.product(range(p.shape[2]), repeat=len(p)):
        q = np.mean(
            [np.prod([p[i, t, y] for i, y in enumerate(labels)]) for t in range(p.shape[1])]
        )
        h -= q * np.log(q) if q > 0 else 0.0
    return h


def conditional_entropy(p):
    q = np.where(p > 0, p, 1.0)
    return -(p * np.log(q)).sum(-1).mean(-1).sum()


def information(p):
    """I(y_1 ... y_b; w)."""
    return joint_entropy(p) - conditional_entropy(p)


@pytest.mark.parametrize("zeros", [False, True])
def test_gains_add_up_to_the_information_of_the_batch(zeros):
    p = members(6, 4, 3)
    if zeros:
        p[1] = np.eye(3)[[0, 1, 1, 2]]
        p[2, :, 0] = 0
        p[2] /= p[2].sum(-1, keepdims=True)
    joint, batch = JointLabels(4, 100_000), []
    for i in (1, 2, 0, 5):
        want = [
            information(p[[*batch, j]]) - (information(p[batch]) if batch else 0) for j in range(6)
        ]
        np.testing.assert_allclose(joint.gains(torch.tensor(p)), want, atol=1e-12)
        joint.add(torch.tensor(p[i]), np.random.default_rng(0))
        batch.append(i)
    assert joint.exact
    assert len(joint.weights) <= 3**4
    assert zeros == (len(joint.weights) < 3**4)
    np.testing.assert_allclose(float(joint.weights.sum()), 1)


def test_sampled_configurations_come_close():
    p = members(7, 5, 3, seed=1)
    joint = JointLabels(5, 4000)
    rng = np.random.default_rng(0)
    for i in range(6):
        joint.add(torch.tensor(p[i]), rng)
        assert joint.exact == (i < 7 and 3 ** (i + 1) <= 4000)
    coarse = JointLabels(5, 500)
    for i in range(6):
        coarse.add(torch.tensor(p[i]), rng)
    assert not coarse.exact
    assert len(coarse.weights) == 500
    want = information(p) - information(p[:6])
    assert abs(float(joint.gains(torch.tensor(p[6:]))[0]) - want) < 1e-12
    assert abs(float(coarse.gains(torch.tensor(p[6:]))[0]) - want) < 0.02 * 5


def test_sampling_has_no_bias():
    p = members(5, 4, 3, seed=2)
    want = information(p) - information(p[:4])
    estimates = []
    for seed in range(60):
        joint, rng = JointLabels(4, 20), np.random.default_rng(seed)
        for i in range(4):
            joint.add(torch.tensor(p[i]), rng)
        estimates.append(float(joint.gains(torch.tensor(p[4:]))[0]))
    assert abs(np.mean(estimates) - want) < 4 * np.std(estimates) / np.sqrt(60)


def test_blocks_and_half_precision():
    p = members(3000, 3, 4)
    joint = JointLabels(3, 600)
    for i in range(4):
        joint.add(torch.tensor(p[i]), np.random.default_rng(0))
    whole = joint.gains(torch.tensor(p))
    apart = torch.cat([joint.gains(torch.tensor(p[i : i + 1])) for i in range(0, 3000, 500)])
    np.testing.assert_allclose(whole[::500], apart, atol=1e-12)
    half = joint.gains(torch.tensor(p).half())
    np.testing.assert_allclose(half, whole, atol=5e-3)


def test_expected_predictive_information():
    p, q = members(4, 5, 3), members(6, 5, 3, seed=9)
    want = []
    for i in range(4):
        total = 0.0
        for j in range(6):
            joint = np.einsum("ta,tb->ab", p[i], q[j]) / 5
            total += (
                joint * np.log(joint / joint.sum(1, keepdims=True) / joint.sum(0, keepdims=True))
            ).sum()
        want.append(total / 6)
    np.testing.assert_allclose(
        expected_predictive_information(torch.tensor(p), torch.tensor(q)), want, atol=1e-12
    )
    with pytest.raises(ValueError, match="targets"):
        expected_predictive_information(torch.tensor(p), torch.tensor(q[:0]))


def test_refusal():
    with pytest.raises(ValueError, match="configurations"):
        JointLabels(2, 0)
