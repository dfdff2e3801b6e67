"""A head on frozen features as a Learner: seconds per curve, the field's low-budget protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from coreset.core.learner import FitResult
from coreset.core.pool import as_indices
from coreset.core.store import Store, write_atomic
from coreset.numerics.pca import Axes, principal_axes
from coreset.numerics.softmax_regression import held_out_loss, softmax_rows
from coreset.trainers.data.base import ImageData, exchanged
from coreset.trainers.learners.heads import HEADS, FittedHead, Head
from coreset.trainers.tasks.self_supervised import pool_and_test

SIGNALS = frozenset({"features", "logits", "probs", "member_probs"})


@dataclass(eq=False)
class ProbeLearner:
    """A head trained on frozen features (N, D), tuned on the labeled examples alone.

    test_features (M, D), test_labels (M,): the held-out test set, no part of the pool; classes:
    names in label order; ids (N,): default positions. head: `linear` (default), `mlp`, `knn`, or
    one of `coreset.trainers.learners.heads` with other settings. components: features are cut to as
    many principal axes of the pool, which need no label (None: left as they are); normalize: then
    scaled to unit length. members: heads behind `member_probs`, each fitted with the chosen
    settings to a bootstrap sample of the labeled examples. Raises ValueError naming what is wrong.

    >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> probe = ProbeLearner(x, x, [0, 0, 1, 1], ["left", "right"], normalize=False)
    >>> _ = probe.fit(np.array([0, 3]), np.array([0, -1, -1, 1]), seed=[0])
    >>> probe.test()["accuracy"]
    1.0
    """

    features: NDArray[Any]
    test_features: NDArray[Any]
    test_labels: Any
    classes: Sequence[str]
    ids: Any = None
    head: str | Head = "linear"
    components: int | None = 128
    normalize: bool = True
    members: int = 10
    metric: str = "accuracy"
    _model: FittedHead | None = field(default=None, init=False, repr=False)
    _members: list[FittedHead] = field(default_factory=list, init=False, repr=False)
    _last: Any = field(default=None, init=False, repr=False)
    confusion: NDArray[np.int64] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.head = named_head(self.head)
        self.classes = [str(name) for name in self.classes]
        for name in ("features", "test_features"):
            x = np.asarray(getattr(self, name))
            if x.ndim != 2 or not len(x) or x.dtype.kind != "f":
                raise ValueError(
                    f"{name}: expected floating numbers of shape (N, D), got {x.dtype} of shape"
                    f" {x.shape}"
                )
        wide, test_wide = self.features.shape[1], self.test_features.shape[1]
        if wide != test_wide:
            raise ValueError(f"test_features: {test_wide} columns but features has {wide}")
        labels = np.asarray(self.test_labels)
        if labels.shape != (len(self.test_features),) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"test_labels: expected {len(self.test_features)} whole numbers, got {labels.dtype}"
                f" of shape {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise ValueError(
                f"test_labels: expected 0 to {len(self.classes) - 1}, got {labels.min()} to"
                f" {labels.max()}"
            )
        self.test_labels = labels.astype(np.int64)
        self.ids = np.arange(len(self.features)) if self.ids is None else np.asarray(self.ids)
        if self.ids.shape != (len(self.features),):
            raise ValueError(f"ids: expected {len(self.features)} names, got {self.ids.shape}")
        if self.members < 1 or (self.components is not None and self.components < 1):
            raise ValueError(
                f"members, components: expected at least 1, got {self.members} and"
                f" {self.components}"
            )
        axes = None if self.components is None else principal_axes(self.features, self.components)
        self.features = prepared(self.features, axes, self.normalize, "features")
        self.test_features = prepared(self.test_features, axes, self.normalize, "test_features")

    @property
    def size(self) -> int:
        """Number of examples in the pool."""
        return len(self.features)

    @property
    def available(self) -> frozenset[str]:
        """Names of the signals that can be measured."""
        return SIGNALS

    def fit(
        self,
        indices: NDArray[Any],
        labels: NDArray[Any],
        *,
        weights: NDArray[Any] | None = None,
        seed: Sequence[int],
        callbacks: Sequence[Any] = (),
    ) -> FitResult:
        """Train a fresh head on the examples `indices` (n,) alone; callbacks are not called.

        info: what tuning chose and the cross-entropies it compared. Raises ValueError for no
        examples, an unknown label among them, or weights that are not finite and positive in sum.
        """
        begin = time.perf_counter()
        rows = as_indices(indices, self.size, "indices")
        labels = np.asarray(labels)
        if not len(rows) or labels.shape != (self.size,):
            raise ValueError(
                f"expected at least one example and labels of shape ({self.size},), got"
                f" {len(rows)} and {labels.shape}"
            )
        order = rows.argsort(kind="stable")  # the answer does not depend on the order of picks
        rows = rows[order]
        y = labels[rows].astype(np.int64)
        if y.min() < 0 or y.max() >= len(self.classes):
            raise ValueError(
                f"labels: expected 0 to {len(self.classes) - 1} at the examples to train on, got"
                f" {y.min()} to {y.max()}"
            )
        w = np.ones(len(rows))
        if weights is not None:
            w = np.asarray(weights, np.float64)[order]
            if w.shape != rows.shape or not np.isfinite(w).all() or w.min() < 0 or not w.sum() > 0:
                raise ValueError(
                    "weights: expected finite numbers >= 0, one per example, not all 0"
                )
            w = w / w.mean()
        x = np.asarray(self.features[rows], np.float64)
        rng = np.random.default_rng(list(seed))
        self._model, info = self._head.fit(x, y, len(self.classes), w, rng)
        self._last = (x, y, w, info, rng)
        self._members = []
        return FitResult(time.perf_counter() - begin, {"head": type(self.head).__name__, **info})

    def signals(
        self, indices: NDArray[Any], names: Iterable[str], *, seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """Return `features` (n, D) as the head reads them, `logits` and `probs` (n, C),
        `member_probs` (n, T, C), at `indices`; float32.

        A class without a labeled example has probability below 1e-13. Raises ValueError
        for other names, RuntimeError before the first `fit`, and for member_probs after `load`.
        """
        rows, wanted = as_indices(indices, self.size, "indices"), frozenset(names)
        if wanted - SIGNALS:
            raise ValueError(f"names: a probe gives {sorted(SIGNALS)}, not {sorted(wanted)}")
        out: dict[str, NDArray[Any]] = {}
        x = self.features[rows]
        if "features" in wanted:
            out["features"] = x
        if wanted & {"logits", "probs"}:
            logits = self._current.logits(x)
            columns = {"logits": logits, "probs": softmax_rows(logits)}
            out |= {name: v.astype(np.float32) for name, v in columns.items() if name in wanted}
        if "member_probs" in wanted:
            passes = [softmax_rows(member.logits(x)) for member in self._ensemble()]
            out["member_probs"] = np.stack(passes, axis=1).astype(np.float32)
        return out

    def test(self) -> dict[str, float]:
        """Return accuracy, balanced accuracy (mean recall of the classes in the test set) and
        cross-entropy on the test set; `confusion` is then (C, C), true class by predicted class.
        """
        logits, classes = self._current.logits(self.test_features), len(self.classes)
        pairs = self.test_labels * classes + logits.argmax(axis=1)
        self.confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        counts, hits = self.confusion.sum(axis=1), np.diag(self.confusion)
        return {
            "accuracy": float(hits.sum() / len(pairs)),
            "balanced_accuracy": float((hits[counts > 0] / counts[counts > 0]).mean()),
            "cross_entropy": float(held_out_loss(logits, self.test_labels).mean()),
        }

    def save(self, path: Path) -> None:
        """Write the head's arrays as safetensors, atomically."""
        arrays = {k: np.ascontiguousarray(v) for k, v in self._head.state(self._current).items()}
        about = {"head": type(self.head).__name__}
        write_atomic(path, safetensors.numpy.save(arrays, metadata=about))

    def load(self, path: Path) -> None:
        """Make the saved head the current one. Raises ValueError for a file of another head."""
        with safetensors.safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about.get("head") != type(self.head).__name__:
            raise ValueError(
                f"{path}: expected a head of kind {type(self.head).__name__}, got"
                f" {about.get('head')}"
            )
        self._model, self._last, self._members = self._head.restore(arrays), None, []

    @property
    def _head(self) -> Head:
        assert not isinstance(self.head, str)
        return self.head

    @property
    def _current(self) -> FittedHead:
        if self._model is None:
            raise RuntimeError("no head is trained yet: call fit (or load) first")
        return self._model

    def _ensemble(self) -> list[FittedHead]:
        """Return the heads behind member_probs, fitted when they are first asked for."""
        if not self._members:
            if self._last is None:
                raise RuntimeError("member_probs: call fit first; a loaded head has no members")
            x, y, w, info, rng = self._last
            for _ in range(self.members):
                counts = rng.multinomial(len(y), np.full(len(y), 1 / len(y)))
                args = (x, y, len(self.classes), w * counts, info, int(rng.integers(2**31)))
                self._members.append(self._head.refit(*args))
        return self._members


def prepared(x: NDArray[Any], axes: Axes | None, normalize: bool, name: str) -> NDArray[np.float32]:
    """Return features (n, D) along `axes` and, with `normalize`, of unit length, float32; a row of
    zeros stays. Raises ValueError, beginning with `name`, for values that are not finite.
    """
    out: NDArray[np.float32] = np.asarray(x, np.float32) if axes is None else axes.of(x)
    if not np.isfinite(out).all():
        raise ValueError(f"{name}: expected finite numbers, row {_first_bad(out)} has others")
    if normalize:
        length = np.linalg.norm(out, axis=1, keepdims=True)
        out = np.asarray(out / np.where(length > 0, length, 1), np.float32)
    return np.ascontiguousarray(out)


def _first_bad(x: NDArray[Any]) -> int:
    return int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])


def named_head(head: Any) -> Head:
    """Return a head by name. Raises ValueError for another name.

    >>> named_head("knn").start
    1
    """
    if not isinstance(head, str):
        chosen: Head = head
        return chosen
    if head not in HEADS:
        raise ValueError(f"head: expected one of {', '.join(HEADS)}, got {head!r}")
    kind: Head = HEADS[head]()
    return kind


@dataclass(frozen=True)
class Probe:
    """Settings of a ProbeLearner on the features of an embedding: `model=probe`.

    head, components, normalize, members: see `ProbeLearner`; options: settings of the head.
    """

    head: str = "linear"
    components: int | None = 128
    normalize: bool = True
    members: int = 10
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        replace_head(self.head, self.options)

    def on(
        self,
        features: NDArray[Any],
        test_features: NDArray[Any],
        test_labels: NDArray[Any],
        classes: Sequence[str],
        ids: NDArray[Any] | None = None,
    ) -> ProbeLearner:
        """Return the learner on these features."""
        head = replace_head(self.head, self.options)
        return ProbeLearner(
            features,
            test_features,
            test_labels,
            classes,
            ids,
            head,
            self.components,
            self.normalize,
            self.members,
        )

    def learner(self, data: ImageData, embedding: Any, store: Store) -> ProbeLearner:
        """Return the learner of a data set; embedding: called with data and store, as
        `coreset.trainers.tasks.features.Pretrained` is, once for the pool and once for the test
        set.
        """
        features, other = pool_and_test(embedding, data, store, exchanged(data))
        return self.on(features, other, data.test_labels, data.classes, data.ids)


def replace_head(head: str, options: Mapping[str, Any] | None) -> Head:
    """Return a head by name with `options` as its settings. Raises ValueError or TypeError that
    begins with the setting.
    """
    try:
        chosen: Any = replace(named_head(head), **dict(options or {}))  # type: ignore[type-var]
    except TypeError as error:
        raise TypeError(f"options: {error}") from error
    kind: Head = chosen
    return kind
