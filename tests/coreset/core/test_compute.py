"""What operators declare of a machine."""

import pytest

from coreset.core.compute import Compute, compute_of, largest
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.scorers.image.images import Images
from coreset.scorers.image_text.clip import ClipScore
from coreset.scorers.image_text.conse import Conse
from coreset.scorers.language.ifd import AnswerLoss, Ifd
from coreset.scorers.language.perplexity import Perplexity
from coreset.scorers.length import Length
from coreset.scorers.text.embedding import SentenceEmbedding


def test_one_worker_that_runs_several_needs_the_most_of_each():
    several = [Compute(cpus=4), Compute(gpus=0.5, or_cpu=True), Compute(memory=2**34)]
    assert largest(several) == Compute(4, 0.5, 2**34, or_cpu=True)
    assert not largest([*several, Compute(gpus=1)]).or_cpu
    assert largest([]) == Compute()


def test_scorers_with_a_model_want_a_gpu():
    for scorer in (
        Perplexity("m"), Ifd("m"), AnswerLoss("m"), SentenceEmbedding(), ClipScore("m"), Conse(),
        Images([Conse(device="cpu"), ClipScore("m")]),
    ):  # fmt: skip
        assert compute_of(scorer) == Compute(gpus=1, or_cpu=True), scorer
    assert compute_of(Perplexity("m", device="cuda")) == Compute(gpus=1)
    for other in (
        Perplexity("m", device="cpu"), SentenceEmbedding(device="cpu"), Images(), Length(),
        Images([ClipScore("m", device="cpu")]), ExactDuplicates(),
    ):  # fmt: skip
        assert compute_of(other) == Compute(), other


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cpus": -1}, "cpus: expected a number of at least 0, got -1"),
        ({"gpus": "one"}, "gpus: expected a number"),
        ({"memory": 1.5}, "memory: expected whole bytes, got 1.5"),
        ({"cpus": float("nan")}, "cpus: expected a number"),
        ({"gpus": True}, "gpus: expected a number"),
    ],
)
def test_what_is_no_amount(options, words):
    with pytest.raises(ValueError, match=words):
        Compute(**options)


def test_a_member_of_another_type():
    class Odd:
        compute = 4

    with pytest.raises(TypeError, match=r"Odd.compute: expected a coreset.core.compute.Compute"):
        compute_of(Odd())
