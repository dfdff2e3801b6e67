"""Every row is measured by the models that did not see it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from coreset.trainers.learners.cross_fit import cross_fit
from coreset.trainers.learners.heads import Linear, stratified_folds
from coreset.trainers.learners.probe import ProbeLearner

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)[:400]


def probe():
    head = Linear(grid=(100.0,), start=100.0)
    return ProbeLearner(X, X[:50], Y[:50], "0123456789", head=head)


def test_each_fold_is_judged_by_the_others():
    rows = np.random.default_rng(0).permutation(400)[:200]
    answer = cross_fit(probe(), rows, Y[:400], ["probs"], folds=4, seed=[3])["probs"]
    fold = stratified_folds(Y[rows], 4, np.random.default_rng([3, 4]))
    for number in range(4):
        alone = probe()
        alone.fit(rows[fold != number], Y[:400], seed=[3, number])
        expected = alone.signals(rows[fold == number], ["probs"])["probs"]
        assert np.allclose(answer[fold == number], expected, atol=1e-6)


def test_scores_are_no_longer_squeezed():
    rows, labels = np.arange(200), Y[:400].copy()
    labels[:20] = (labels[:20] + 1) % 10  # wrong labels that a fitted model learns by heart
    fitted = probe()
    fitted.fit(rows, labels, seed=[0])
    inside = fitted.signals(rows, ["probs"])["probs"][np.arange(200), labels[:200]]
    outside = cross_fit(probe(), rows, labels, ["probs"])["probs"][np.arange(200), labels[:200]]
    assert inside[:20].mean() > 0.5
    assert outside[:20].mean() < 0.2 < 0.8 < outside[20:].mean()


def test_words_for_what_is_wrong():
    with pytest.raises(ValueError, match=r"folds: expected 2 to 3 \(the examples\), got 5"):
        cross_fit(probe(), np.arange(3), Y[:400], ["probs"])
    with pytest.raises(ValueError, match="names: expected signals of"):
        cross_fit(probe(), np.arange(30), Y[:400], ["predicted_loss"])
