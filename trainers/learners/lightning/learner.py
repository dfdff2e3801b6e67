"""A user's own Lightning project as a `Learner`: its training is used as it is."""

from __future__ import annotations

import copy
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import safetensors.torch
import torch
from lightning_utilities.core.overrides import is_overridden
from numpy.typing import NDArray
from torch import nn

from coreset.core.learner import FitResult
from coreset.core.store import write_atomic
from coreset.trainers.data.coco import Part
from coreset.trainers.learners.lightning.checks import Watch, doubts
from coreset.trainers.learners.lightning.chosen import Chosen, chosen_data, hook_owner, rebuilt
from coreset.trainers.learners.lightning.confusion import Confusion
from coreset.trainers.learners.lightning.drawn import DrawnImages
from coreset.trainers.learners.lightning.measure import measure
from coreset.trainers.learners.lightning.pool import LightningPool, label_of, labels_of, open_pool
from coreset.trainers.learners.lightning.pool import read as read_example
from coreset.trainers.learners.lightning.proposals import Entry, proposals
from coreset.trainers.learners.lightning.reading import (
    PENULTIMATE,
    PREDICT,
    Reading,
    find_reading,
)
from coreset.trainers.learners.lightning.trainer import Count, make_trainer, tested
from coreset.trainers.learners.lightning.weights import tensors_of
from coreset.trainers.tasks.measure import dropouts

CHECKPOINTS = ("last", "best")
GOOD = ("acc", "f1", "auroc", "map", "iou", "dice", "jaccard", "precision", "recall", "r2")


class LightningLearner:
    """Train a LightningModule on chosen examples of a LightningDataModule's train dataset.

    module: as it is before training, copied for every training, or a factory that makes one, called
    under the seed of the training. trainer: arguments of Lightning's Trainer. metric: name of a
    metric that `trainer.test` logs; None: the only one, or the only one with the name of a score.
    logits: the method that returns them. features: a layer's name, or `penultimate`. signals: more
    columns by the module's methods, as {"uncertainty": "pixel_entropy"}, each (batch) -> (B, ...).
    labels: class numbers (N,) of the pool, where neither the dataset nor its examples tell.
    classes: their names. weight_key: entry of the batch in which the module reads a selection's
    weights; None: examples are drawn in proportion to them. checkpoint: `last` weights, or the
    `best` by the user's ModelCheckpoint. warm_start: go on from the last training. members: passes
    of MC dropout; ensemble: trainings whose predictions are the members instead, 1 = MC dropout.
    drawn: where people draw boxes or masks, the images they see, as {"root": "street", "train":
    "train.json", "masks": False}; the train dataset then has `set_label(position, annotations)`,
    see `coreset.trainers.learners.lightning.drawn`.

    The pool is opened, and the module is tried on two examples and one test batch, when a property
    is first asked for; what cannot work raises ValueError or TypeError then.
    """

    def __init__(
        self,
        module: pl.LightningModule | Callable[[], pl.LightningModule],
        datamodule: pl.LightningDataModule,
        trainer: Mapping[str, Any] | None = None,
        metric: str | None = None,
        logits: str = PREDICT,
        features: str = PENULTIMATE,
        signals: Mapping[str, str] | None = None,
        labels: Any = None,
        classes: Sequence[str] = (),
        weight_key: str | None = None,
        checkpoint: str = "last",
        warm_start: bool = False,
        members: int = 10,
        ensemble: int = 1,
        drawn: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(module, pl.LightningModule) and not callable(module):
            raise TypeError(
                f"module: expected a LightningModule or what makes one, got {type(module).__name__}"
            )
        if not isinstance(datamodule, pl.LightningDataModule):
            raise TypeError(
                f"datamodule: expected a LightningDataModule, got {type(datamodule).__name__}"
            )
        if checkpoint not in CHECKPOINTS:
            raise ValueError(f"checkpoint: expected last or best, got {checkpoint!r}")
        for name, value in (("members", members), ("ensemble", ensemble)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value!r}")
        self.module, self.datamodule = module, datamodule
        self.trainer = dict(trainer or {})
        self.logits_by, self.features_by = logits, features
        self.methods = dict(signals or {})
        self.named_metric, self.labels, self.named_classes = metric, labels, tuple(classes)
        self.weight_key, self.checkpoint, self.warm_start = weight_key, checkpoint, warm_start
        self.members, self.ensemble = members, ensemble
        self.drawn = None if drawn is None else DrawnImages(**drawn)
        self.logger: Any = False
        self.confusion: NDArray[np.int64] | None = None  # of the last test, see `Confusion`
        self._models: list[pl.LightningModule] = []

    # what is known before any training

    @cached_property
    def pool(self) -> LightningPool:
        """The positions of the train dataset, checked."""
        self.datamodule.trainer = self._checked_trainer
        pool = open_pool(self.datamodule)
        for note in pool.notes[1:]:
            warnings.warn(note, stacklevel=2)
        return pool

    @cached_property
    def _checked_trainer(self) -> pl.Trainer:
        return make_trainer(self.trainer, Path.cwd(), silent=True)

    @cached_property
    def part(self) -> Part | None:
        """The images that people draw in, None where they draw nothing."""
        return None if self.drawn is None else self.drawn.part(self.pool.train)

    @property
    def size(self) -> int:
        """Number of examples in the train dataset."""
        return self.pool.size

    @cached_property
    def ids(self) -> NDArray[Any]:
        """The train dataset's own `ids` (N,) as texts, or its positions."""
        own = vars(self.pool.train).get("ids") if hasattr(self.pool.train, "__dict__") else None
        if own is None or len(own) != self.size:
            return np.arange(self.size)
        return np.asarray(own).astype(np.str_)

    @cached_property
    def reading(self) -> Reading:
        """Where logits and features of the module come from."""
        module = self._fresh((0,)).to(self.device)
        loader = self._measuring(np.arange(2))
        return find_reading(
            module, self._moved(module, next(iter(loader))), 2, self.logits_by, self.features_by
        )

    @cached_property
    def known_labels(self) -> NDArray[np.int64] | None:
        """Class numbers (N,) of the pool, None where only reading an example tells its own."""
        if self.labels is None:
            return labels_of(self.pool.train)
        labels = np.asarray(self.labels)
        if labels.shape != (self.size,) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels: expected whole numbers of shape ({self.size},), got {labels.dtype} of"
                f" shape {labels.shape}"
            )
        return labels.astype(np.int64)

    @cached_property
    def classes(self) -> Sequence[str]:
        """Class names: as given, or the dataset's own, or numbers; empty where labels are none."""
        if self.named_classes:
            return self.named_classes
        known = self.known_labels
        if known is None and label_of(read_example(self.pool.view, 0)) is None:
            return ()
        own = getattr(self.pool.train, "classes", None)
        count = 0 if self.no_logits else self.reading.classes
        count = max(count, int(known.max()) + 1 if known is not None else 0)
        if isinstance(own, list | tuple) and len(own) >= count:
            return tuple(map(str, own))
        return tuple(map(str, range(count)))

    @cached_property
    def metric(self) -> str:
        """Name of the metric on the curve; checked by testing the untrained module on one batch."""
        names = sorted(self._test(self._fresh((0,)), limit_test_batches=1))
        if not names:
            if self.named_metric:
                raise ValueError(
                    f"metric: trainer.test logs nothing, expected {self.named_metric!r}"
                )
            warnings.warn(
                "there is no test (test_dataloader and test_step that logs): the curve has no"
                " values",
                stacklevel=2,
            )
            return "none"
        if self.named_metric is not None:
            if self.named_metric not in names:
                raise ValueError(
                    f"metric: trainer.test logs {', '.join(names)}, not {self.named_metric!r}"
                )
            return self.named_metric
        scores = [n for n in names if any(word in n.lower() for word in GOOD)]
        if len(names) == 1 or len(scores) == 1:
            return (scores or names)[0]
        raise ValueError(f"metric: trainer.test logs {', '.join(names)}; name one with metric=")

    @cached_property
    def available(self) -> frozenset[str]:
        """Signals of the module as it is read."""
        reading = self.reading
        names = set(self.methods)
        if not self.no_logits:
            names |= {"logits", "probs"}
            if self.ensemble > 1 or dropouts(self._example):
                names.add("member_probs")
        if reading.layer is not None:
            names.add("features")
        return frozenset(names)

    def why_not(self, name: str) -> str:
        """Return in words why the module does not give a signal."""
        reading = self.reading
        if name == "features":
            return reading.no_features
        if name in ("logits", "probs", "member_probs") and self.no_logits:
            return self.no_logits
        if name == "member_probs":
            return "it has no dropout layer to draw members with; use ensemble="
        return "no method gives it; name one with signals="

    @cached_property
    def no_logits(self) -> str:
        """Why there are no logits per example to choose by; empty where there are."""
        reading, labels = self.reading, self.known_labels
        if reading.method is None:
            return reading.no_logits
        if reading.spatial:
            return "its logits are per position, not per example"
        if labels is not None and (outside := np.flatnonzero(labels >= reading.classes)).size:
            return (
                f"{reading.method} of {type(self._example).__name__} gives {reading.classes}"
                f" values an example, and {len(outside)} examples of the pool have another class,"
                f" first {labels[outside[0]]} at position {outside[0]}; name the method that"
                " returns logits with logits="
            )
        return ""

    def check(self) -> None:
        """Raise ValueError or TypeError for what cannot work, before anything trains."""
        assert self.known_labels is None or self.reading
        if self.known_labels is not None and not self.no_logits:
            name, named = type(self._example).__name__, bool(self.named_classes)
            for doubt in doubts(self.known_labels, self.reading, name, named):
                warnings.warn(doubt, stacklevel=2)
        for name, method in self.methods.items():
            if not callable(getattr(self._example, method, None)):
                raise ValueError(f"signals.{name}: the module has no method {method!r}")
        assert self.metric

    # training

    @cached_property
    def _example(self) -> pl.LightningModule:
        """A module to look at, which is never trained."""
        return self.module if isinstance(self.module, pl.LightningModule) else self._fresh((0,))

    def _fresh(self, seed: Sequence[int]) -> pl.LightningModule:
        """Return the module before training."""
        if isinstance(self.module, pl.LightningModule):
            return copy.deepcopy(self.module)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng(list(seed)).integers(2**31)))
            return self.module()

    def start_from(self, folder: Path) -> None:
        """Keep the weights before training in a run folder, or take them from it: a script that
        goes on with a run need not make the same module again.
        """
        if not isinstance(self.module, pl.LightningModule):
            return
        path = folder / "start.safetensors"
        if path.exists():
            state = safetensors.torch.load_file(path)
            self.module.load_state_dict({**self.module.state_dict(), **state})
        else:
            write_atomic(path, safetensors.torch.save(tensors_of(self.module)))

    def fit(
        self,
        indices: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
        *,
        weights: NDArray[np.float64] | None = None,
        seed: Sequence[int],
        callbacks: Sequence[Any] = (),
    ) -> FitResult:
        """Train by the module's own training_step and optimizers, with the user's Trainer.

        labels (N,): known ones from outside; where the dataset's own agree with them, or are the
        only ones, its examples are used as they are.
        """
        begin = time.perf_counter()
        own, part = self._own_labels(indices, labels), self.part
        drawn = None if part is None else {i: part.annotations[i] for i in indices.tolist()}
        before, models = self._models, []
        with tempfile.TemporaryDirectory() as scratch:
            for number in range(self.ensemble):
                child = np.random.default_rng([*seed, number]) if number else None
                child = child or np.random.default_rng(list(seed))
                pl.seed_everything(int(child.integers(2**31)), workers=True, verbose=False)
                warm = self.warm_start and number < len(before)
                module = before[number] if warm else self._fresh((*seed, number))
                batch_norm = any(
                    isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()
                )
                data = chosen_data(
                    self.datamodule, indices, own, weights, self.weight_key, batch_norm, drawn
                )
                count = Count(Path(scratch) / "count.json")
                trained = make_trainer(
                    self.trainer, Path(scratch) / str(number), self.logger, [*callbacks, count]
                )
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
                    trained.fit(module, datamodule=data)
                if trained.interrupted:
                    raise KeyboardInterrupt
                self._best(trained, module)
                models.append(module)
            counts = json.loads(count.path.read_text())
        self._models = models
        info: dict[str, Any] = {
            "fit": {
                **counts,
                "start": "the last training" if self.warm_start and before else self._start(),
                "pool": list(self.pool.notes),
            }
        }
        if weights is not None:
            info["fit"]["weights"] = (
                f"batch entry {self.weight_key!r}" if self.weight_key else "weighted sampling"
            )
        return FitResult(time.perf_counter() - begin, info)

    def _start(self) -> str:
        given = isinstance(self.module, pl.LightningModule)
        return "a copy of the module as given" if given else "a module made under the seed"

    def _own_labels(
        self, indices: NDArray[np.int64], labels: NDArray[np.int64] | None
    ) -> NDArray[np.int64] | None:
        """Return labels (n,) that replace the dataset's, None where it has the same."""
        if labels is None or not self.classes or self.drawn is not None:
            return None
        chosen = labels[indices]
        if self.known_labels is None or not self.labels_inside:
            return None if self.labels_inside else chosen
        return None if np.array_equal(self.known_labels[indices], chosen) else chosen

    @cached_property
    def labels_inside(self) -> bool:
        """Whether examples carry their own label."""
        return label_of(read_example(self.pool.view, 0)) is not None

    def _best(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the best weights in, where they are asked for."""
        if self.checkpoint == "last":
            return
        path = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not path:
            raise ValueError(
                "checkpoint: best needs a ModelCheckpoint with `monitor` among the trainer's"
                " callbacks"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)

    # measuring and testing

    @cached_property
    def _watch(self) -> Watch:
        return Watch(0 if self.known_labels is not None else len(self.classes))

    @property
    def device(self) -> torch.device:
        """Where modules are measured: the first device of the user's Trainer."""
        return self._checked_trainer.strategy.root_device

    def _current(self) -> list[pl.LightningModule]:
        """Return the modules of the last training, or the untrained one."""
        return self._models or [self._fresh((0,))]

    def _measuring(self, indices: NDArray[np.int64]) -> Any:
        dataset = Chosen(self.pool.view, indices, by_position=len(self.pool.notes) > 1)
        return rebuilt(self.pool.loader, dataset)

    def _moved(self, module: pl.LightningModule, batch: Any) -> Any:
        """Return a batch on the module's device, by the user's own transfer hooks."""
        if module._trainer is None:  # hooks may ask whether it is training
            module.trainer = self._checked_trainer

        def owner(hook: str) -> Any:
            return hook_owner(hook, self.datamodule, module)

        batch = owner("on_before_batch_transfer").on_before_batch_transfer(batch, 0)
        batch = owner("transfer_batch_to_device").transfer_batch_to_device(batch, self.device, 0)
        return owner("on_after_batch_transfer").on_after_batch_transfer(batch, 0)

    def signals(
        self, indices: NDArray[np.int64], names: Iterable[str], *, seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """Return columns of the current module; of the untrained one before the first training."""
        indices = np.asarray(indices, np.int64)
        with self._evaluating() as models:
            return measure(
                models,
                self.reading,
                self._watch.over(self._measuring(indices), indices),
                self._moved,
                frozenset(names),
                self.methods,
                self._checked_trainer.precision_plugin,
                members=self.members,
                seed=seed,
            )

    @contextmanager
    def _evaluating(self) -> Iterator[list[pl.LightningModule]]:
        """Give the current modules on their device, in evaluation mode."""
        models = self._current()
        modes = [(m, m.training) for model in models for m in model.modules()]
        try:
            yield [m.to(self.device).eval() for m in models]
        finally:  # a warm start goes on in the modes that the user's module had
            for module, mode in modes:
                module.training = mode

    @cached_property
    def propose(self) -> Callable[[NDArray[np.int64]], list[list[Entry]]] | None:
        """What the module proposes where people draw, see `proposals`; None where it has no
        predict_step, or, said aloud, one that gives no boxes or masks.
        """
        drawn, part = self.drawn, self.part
        if (
            drawn is None
            or part is None
            or not is_overridden(PREDICT, self._example, pl.LightningModule)
        ):
            return None

        def objects(indices: NDArray[np.int64]) -> list[list[Entry]]:
            loader = self._measuring(indices)
            with self._evaluating() as (first, *_):
                return proposals(
                    first, loader, self._moved, indices, part, drawn.masks, drawn.prelabels
                )

        try:
            objects(np.arange(2))
        except Exception as error:  # a user's method raises whatever it stumbles over
            warnings.warn(f"people who draw see no proposals: {error}", stacklevel=2)
            return None
        return objects

    def test(self) -> dict[str, float]:
        """Return what `trainer.test` logs, on one device: no example counts twice."""
        counted = Confusion(0 if self.reading.spatial else self.reading.classes)
        metrics = self._test(self._current()[0], counted)
        self.confusion = counted.counts
        return metrics

    def _test(
        self, module: pl.LightningModule, *callbacks: pl.Callback, **options: Any
    ) -> dict[str, float]:
        logger = False if options else self.logger
        return tested(module, self.datamodule, self.trainer, logger, callbacks, options)

    def save(self, path: Path) -> None:
        """Write the current weights, of every member of an ensemble."""
        tensors = {
            f"{number}/{name}": value
            for number, module in enumerate(self._current())
            for name, value in tensors_of(module).items()
        }
        write_atomic(path, safetensors.torch.save(tensors))

    def load(self, path: Path) -> None:
        """Read weights that `save` wrote."""
        tensors = safetensors.torch.load_file(path)
        models = []
        for number in range(self.ensemble):
            module, start = self._fresh((0,)), f"{number}/"
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            module.load_state_dict({**module.state_dict(), **own})
            models.append(module)
        self._models = models
