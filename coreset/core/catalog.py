"""The columns that strategies read: what each holds and where it comes from, in one table.

METHODS.md prints it, and the error of a missing column quotes it.
"""

from __future__ import annotations

from dataclasses import dataclass

_RECORDED = (
    "coreset.trainers.loops.dynamics.RecordDynamics, a Lightning callback, or"
    " DynamicsRecorder.update in a loop of your own"
)


@dataclass(frozen=True)
class Column:
    """One column: its shape (N examples), what a row holds, and how to get it."""

    shape: str
    holds: str
    source: str


def _model(what: str) -> str:
    return (
        f"compute {what} with coreset.trainers.tasks.measure.measure, or bring an array of your own"
    )


def _dynamics(name: str) -> str:
    return f'record it while training with DynamicsRecorder(N, ["{name}"]): {_RECORDED}'


def _field(what: str) -> str:
    return f"bring it: {what}"


COLUMNS: dict[str, Column] = {
    "features": Column(
        "(N, D)",
        "an embedding: by default the input of the model's last linear layer",
        "compute it with coreset.trainers.tasks.measure.measure (coreset-train: embedding=model,"
        " pixels or pretrained), an embedding scorer of coreset-score, or bring an array of"
        " your own",
    ),
    "logits": Column("(N, C)", "the model's outputs before softmax", _model("it")),
    "probs": Column("(N, C)", "predicted class probabilities", _model("it")),
    "member_probs": Column(
        "(N, T, C)",
        "class probabilities of T passes with dropout on, or of T models",
        _model("it (MC dropout)"),
    ),
    "predicted_loss": Column(
        "(N,)",
        "the loss a model predicts for itself",
        "train with coreset.trainers.learners.fit.Fitter(..., predict_loss=True) and measure it, as"
        " coreset-train strategy=learning_loss does",
    ),
    "labels": Column("(N,)", "class numbers, -1 where unknown", "the data set's own labels"),
    "forgetting": Column(
        "(N,)", "how often a learned example was forgotten", _dynamics("forgetting")
    ),
    "aum": Column("(N,)", "area under the margin of the logits", _dynamics("aum")),
    "aum_probs": Column(
        "(N,)", "area under the margin of the probabilities", _dynamics("aum_probs")
    ),
    "el2n": Column("(N,)", "mean norm of the error vector of early epochs", _dynamics("el2n")),
    "dyn_unc": Column("(N,)", "spread of the true class's probability", _dynamics("dyn_unc")),
    "dyn_unc_all": Column(
        "(N,)", "the same, over every window of epochs", _dynamics("dyn_unc_all")
    ),
    "dual": Column("(N,)", "spread times difficulty of early epochs", _dynamics("dual")),
    "mean_prob": Column("(N,)", "mean probability of the true class", _dynamics("mean_prob")),
    "tdds": Column("(N,)", "projected change of the loss between epochs", _dynamics("tdds")),
    "memorization": Column("(N,)", "loss summed over training", _dynamics("memorization")),
    "true_probs": Column(
        "(N, E)", "the true class's probability, by epoch", _dynamics("true_probs")
    ),
    "margins": Column("(N, E)", "the margin of the true class, by epoch", _dynamics("margins")),
    "losses": Column("(N, E)", "the loss, by epoch or checkpoint", _dynamics("losses")),
    "gradient_norm": Column(
        "(N,)",
        "norm of an example's gradient over all weights, averaged over proxies",
        "compute it with coreset.numerics.full_gradients.gradient_norms on models of yours, or run "
        "coreset-train strategy=grand strategy.gradient=full",
    ),
    "gradients": Column(
        "(N, D)", "each example's gradient", _field("any matrix of gradients of yours")
    ),
    "annotator_labels": Column(
        "(N, M)", "the label each of M annotators gave, -1 for none", _field("your annotations")
    ),
    "validation": Column(
        "(N,)", "true at the labeled examples that choices are judged on", _field("a mark of yours")
    ),
    "clusters": Column("(N,)", "cluster numbers, -1 for none", _field("a clustering of yours")),
    "distances": Column("(N, N)", "distances of all pairs", _field("a matrix of yours")),
    "similarity": Column("(N, N)", "similarities of all pairs", _field("a matrix of yours")),
    "query": Column("(N,)", "true at the examples that are queries", _field("a mark of yours")),
    "private": Column("(N,)", "true at the examples to keep away from", _field("a mark of yours")),
    "projected_gradients": Column(
        "(N, P)",
        "each example's gradient, projected",
        "compute it with coreset.strategies.gradient.projection.projected_gradients on a model of"
        " yours",
    ),
    "validation_task": Column(
        "(N,)", "the task of a validation example, -1 elsewhere", _field("numbers of yours")
    ),
    "influence": Column(
        "(N, T)", "influence of an example on each of T tasks", _field("any number of yours")
    ),
    "difficulty": Column("(N,)", "how hard an example is", _field("any number of yours")),
    "query_similarity": Column(
        "(N, Q)",
        "cosine with each of Q queries",
        "compute it with coreset.curation.operators.query_similarity.QuerySimilarity, as"
        " recipe=sft_rds does",
    ),
    "complexity": Column(
        "(N,)", "how complex an instruction is", _field("a field of the rows, e.g. a judge's score")
    ),
    "quality": Column(
        "(N,)", "how good a response is", _field("a field of the rows, e.g. scorer=judge")
    ),
    "tags": Column("(N,)", "a list of tags an example", _field("a field of the rows")),
    "rating": Column(
        "(N,)",
        "a row's rating from comparisons of pairs",
        "compute it with coreset.curation.operators.quality.pairwise.PairwiseRatings, as "
        "recipe=pretrain_qurating does",
    ),
    "reward": Column(
        "(N,)", "a reward model's score of the row's response", _field("a field of the rows")
    ),
    "response_reward": Column(
        "(N,)",
        "the same of the fine-tuned model's response",
        _field("a field of the rows, written after recipe=sft_mods_seeds"),
    ),
}


def source(name: str) -> str:
    """Return in words where a column comes from, for the end of an error about a missing one.

    >>> source("forgetting").split(":")[0]
    'record it while training with DynamicsRecorder(N, ["forgetting"])'
    >>> source("blur")
    'bring it: a column of your own'
    """
    return COLUMNS[name].source if name in COLUMNS else _field("a column of your own")
