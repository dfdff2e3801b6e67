"""Features that the pool itself teaches, for images that no pretrained backbone knows.

SimCLR: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
2020 (arXiv:2002.05709). VICReg: Bardes et al., "VICReg: Variance-Invariance-Covariance
Regularization for Self-Supervised Learning", ICLR 2022 (arXiv:2105.04906). Losses, projection heads
and augmentations are those of the package lightly (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from coreset.core.store import Store, fingerprint, write_atomic
from coreset.scorers.device import torch_device
from coreset.trainers.data.base import ImageData
from coreset.trainers.progress import progress
from coreset.trainers.tasks.models import small_cnn

METHODS = ("vicreg", "simclr")
SMALL = "small_cnn"
PASSES, LEAST, MOST = 100, 500, 50_000  # times each image is seen; the fewest and the most steps


@dataclass(frozen=True)
class SelfSupervised:
    """The features of a network that was trained on the pool's images without their labels, once
    for a data set.

    method: `vicreg` or `simclr`. encoder: `small_cnn` (images from 8 x 8 to 64 x 64) of `width`, or
    any model of timm, without weights. steps: None = as many as show each image 100 times, from 500
    to 50,000. batch_size: images of a step, each seen in two views. lr (AdamW, warm-up and cosine),
    weight_decay; projection: width of the projection head. transform: arguments of lightly's
    SimCLRTransform; up to 64 x 64 pixels colors are jittered by half and nothing is blurred. seed:
    of weights, order and views. workers: processes that make the views; does not change the answer.
    save_every: steps between two states from which a killed training goes on. device: `auto`,
    `cpu`, `cuda`.
    """

    method: str = "vicreg"
    encoder: str = SMALL
    width: int = 64
    steps: int | None = None
    batch_size: int = 256
    lr: float = 0.001
    weight_decay: float = 0.0001
    projection: int = 1024
    transform: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    workers: int = 0
    save_every: int = 200
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: expected {' or '.join(METHODS)}, got {self.method!r}")
        least = {
            "steps": (1 if self.steps is None else self.steps, 1),
            "batch_size": (self.batch_size, 2),
            "width": (self.width, 1), "projection": (self.projection, 1),
            "workers": (self.workers, 0),
            "save_every": (self.save_every, 1),
        }  # fmt: skip
        for name, (value, bound) in least.items():
            if not isinstance(value, int) or value < bound:
                raise ValueError(f"{name}: expected a whole number from {bound}, got {value!r}")
        if not self.lr > 0 or not self.weight_decay >= 0:
            raise ValueError(
                f"expected lr above 0 and weight_decay of at least 0, got {self.lr} and"
                f" {self.weight_decay}"
            )

    def check(self, data: ImageData) -> None:
        """Raise before anything trains: ImportError without lightly, ValueError for images or
        settings that cannot work.
        """
        if find_spec("lightly") is None:
            raise ImportError(
                "self-supervised training needs lightly: pip install 'coreset-lightning[ssl]'"
            )
        size, channels = data.images.shape[2:]
        if channels not in (1, 3):
            raise ValueError(f"expected images of 1 or 3 channels, got {channels}")
        if len(data) < 2:
            raise ValueError(f"expected a pool of at least two images, got {len(data)}")
        if self.encoder == SMALL:
            if not 8 <= size <= 64:
                raise ValueError(
                    f"encoder: {SMALL} is for images from 8 x 8 to 64 x 64 pixels, these have"
                    f" {size} x {size}; name a model of timm, such as resnet18"
                )
        else:
            import timm

            if not timm.is_model(self.encoder):
                raise ValueError(f"encoder: {self.encoder!r} is neither {SMALL} nor in timm")
        try:
            self._views(data)
        except TypeError as error:
            raise ValueError(f"transform: lightly's SimCLRTransform refuses: {error}") from error

    def __call__(self, data: ImageData, store: Store) -> NDArray[np.float32]:
        """Return the features (N, D) of the pool, memory-mapped from `store`; trains first where
        that was not done yet.
        """
        return self._features(data, store, data.images, "pool")

    def test(self, data: ImageData, store: Store) -> NDArray[np.float32]:
        """Return the features of the test set, of the network that the pool taught."""
        return self._features(data, store, data.test_images, "test")

    def total_steps(self, size: int) -> int:
        """Return the number of steps for a pool of `size` images.

        >>> [SelfSupervised().total_steps(n) for n in (1000, 60_000, 10**7)]
        [500, 23438, 50000]
        """
        if self.steps is not None:
            return self.steps
        return min(max(math.ceil(PASSES * size / self.batch_size), LEAST), MOST)

    def untrained(self, data: ImageData) -> nn.Module:
        """Return the encoder as training begins with it."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            size, channels = data.images.shape[2:]
            if self.encoder == SMALL:  # without dropout and classes
                whole = cast(nn.Sequential, small_cnn(2, channels, size, self.width))
                return whole[:-2]
            import timm

            model = timm.create_model(self.encoder, num_classes=0, in_chans=channels)
            return cast(nn.Module, model)

    def key(self, data: ImageData) -> str:
        """Return the fingerprint of what the features depend on: images and settings, no labels."""
        free = ("workers", "save_every", "device")
        mine = {k: v for k, v in vars(self).items() if k not in free}
        content = data.content or fingerprint(data.images, data.test_images)
        sizes = [len(data.images), len(data.test_images)]
        return fingerprint(mine, content, sizes, data.mean, data.std, self.total_steps(len(data)))

    def _features(
        self, data: ImageData, store: Store, images: NDArray[np.uint8], part: str
    ) -> NDArray[np.float32]:
        self.check(data)
        key = self.key(data)
        device = torch_device(self.device)

        def fill(out: NDArray[np.float32]) -> None:
            model = self._trained(data, store, key, device)
            for start in range(0, len(images), self.batch_size):
                rows = slice(start, min(start + self.batch_size, len(images)))
                out[rows] = embed(model, images[rows], data, device)

        width = embed(self.untrained(data).to(device), data.images[:1], data, device).shape[1]
        about = {"method": self.method, "encoder": self.encoder, "data": data.name}
        shape = (len(images), width)
        return store.create(f"self_supervised_{part}", key, shape, np.float32, fill, about)

    def _trained(self, data: ImageData, store: Store, key: str, device: torch.device) -> nn.Module:
        """Return the encoder after training, or from the store."""
        path = store.root / f"self_supervised-{key}.safetensors"
        store.root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # other processes of a multirun wait
            model, head = self.untrained(data).to(device), self._head(data).to(device)
            both = nn.ModuleDict({"encoder": model, "head": head})
            optimizer = torch.optim.AdamW(
                both.parameters(), lr=self.lr, weight_decay=self.weight_decay
            )
            steps, begin = self.total_steps(len(data)), 0
            if path.exists():
                begin = _load(path, both, optimizer)
            if begin < steps:
                loss = self._loss()
                with progress(f"{self.method} on {data.name}", steps) as advance:
                    advance(begin)
                    for step, views in enumerate(self._batches(data, begin, steps), begin):
                        self._step(
                            both, optimizer, loss, [v.to(device) for v in views], step, steps
                        )
                        advance(1)
                        if (step + 1) % self.save_every == 0 or step + 1 == steps:
                            _save(path, both, optimizer, step + 1)
        return model

    def _step(
        self, both: nn.ModuleDict, optimizer: torch.optim.Optimizer, loss: nn.Module,
        views: list[Tensor], step: int, steps: int,
    ) -> None:  # fmt: skip
        both.train()
        warm = max(1, steps // 10)
        share = min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / steps)))
        for group in optimizer.param_groups:
            group["lr"] = self.lr * share
        with torch.random.fork_rng():  # for encoders with dropout
            torch.manual_seed(int(np.random.default_rng([self.seed, step]).integers(2**31)))
            first, second = both["head"](both["encoder"](torch.cat(views))).chunk(2)
        value = loss(first, second)
        if not torch.isfinite(value):
            raise ValueError(
                f"lr: the loss is {float(value.detach())} at step {step}; lower {self.lr}"
            )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    def _head(self, data: ImageData) -> nn.Module:
        from lightly.models.modules.heads import SimCLRProjectionHead, VICRegProjectionHead

        width = embed(self.untrained(data), data.images[:1], data, torch.device("cpu")).shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + 1)
            if self.method == "simclr":
                return cast(nn.Module, SimCLRProjectionHead(width, self.projection))
            return cast(nn.Module, VICRegProjectionHead(width, self.projection, self.projection))

    def _loss(self) -> nn.Module:
        from lightly.loss import NTXentLoss, VICRegLoss

        return cast(nn.Module, NTXentLoss() if self.method == "simclr" else VICRegLoss())

    def _views(self, data: ImageData) -> Any:
        from lightly.transforms import SimCLRTransform

        size = data.images.shape[1]
        small = {"cj_strength": 0.5, "gaussian_blur": 0.0} if size <= 64 else {}
        normalize = {"mean": list(data.mean), "std": list(data.std)}
        own = {"input_size": size, "normalize": normalize, **small, **dict(self.transform)}
        return SimCLRTransform(**own)

    def _batches(self, data: ImageData, begin: int, steps: int) -> Iterator[list[Tensor]]:
        """Yield the two views (B, C, S, S) of each step from `begin` on."""
        views = _Views(data.images, self._views(data), self.seed)
        plan = _Plan(len(data), min(self.batch_size, len(data)), self.seed, begin, steps)
        yield from DataLoader(
            views, batch_sampler=plan, num_workers=self.workers, generator=torch.Generator()
        )


@dataclass(frozen=True)
class _Plan:
    """Which images each step sees, in an order of their own each pass; what is left over after the
    last whole batch of a pass is not seen in it.
    """

    size: int
    batch_size: int
    seed: int
    begin: int
    steps: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        each, per_pass, number = self.batch_size, self.size // self.batch_size, -1
        for step in range(self.begin, self.steps):
            if step // per_pass != number:
                number = step // per_pass
                order = np.random.default_rng([self.seed, number]).permutation(self.size)
            at = step % per_pass * each
            yield [(number, row) for row in order[at : at + each].tolist()]


class _Views(Dataset[Any]):
    """Two views of an image, which depend on the seed, the pass and the image alone."""

    def __init__(self, images: NDArray[np.uint8], transform: Any, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __getitem__(self, at: tuple[int, int]) -> list[Tensor]:
        number, row = at
        pixels = np.ascontiguousarray(self.images[row])
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        state = np.random.get_state()  # noqa: NPY002  # lightly blurs and turns by it
        try:
            with torch.random.fork_rng(devices=[]):
                seed = int(np.random.default_rng([self.seed, number, row]).integers(2**32))
                torch.manual_seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                return cast("list[Tensor]", self.transform(image))
        finally:
            np.random.set_state(state)  # noqa: NPY002


@torch.no_grad()
def embed(
    model: nn.Module, images: NDArray[np.uint8], data: ImageData, device: torch.device
) -> NDArray[np.float32]:
    """Return the output (n, D) of an encoder for images (n, S, S, C), normalized by the pool's mean
    and deviation.
    """
    model.eval()
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (
        torch.tensor(v, device=device).float().view(1, -1, 1, 1) for v in (data.mean, data.std)
    )
    return model((x - mean) / std).flatten(1).float().cpu().numpy()  # type: ignore[no-any-return]


def pool_and_test(
    embedding: Any, data: ImageData, store: Store, exchanged: ImageData
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the features of the pool and of the test set. exchanged: the data with the two in each
    other's place, for embeddings that learn nothing from the pool.
    """
    if isinstance(embedding, SelfSupervised):
        return embedding(data, store), embedding.test(data, store)
    return embedding(data, store), embedding(exchanged, store)


def _save(path: Path, both: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a training: weights, what the optimizer knows of each, the number of steps done."""
    tensors = {f"model.{k}": v for k, v in both.state_dict().items()}
    for i, known in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in known.items()}
    tensors["step"] = torch.tensor(step)
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_atomic(path, safetensors.torch.save(plain))


def _load(path: Path, both: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read a training; return the number of steps done."""
    tensors = safetensors.torch.load_file(path)
    known: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            i, _, what = rest.partition(".")
            known.setdefault(int(i), {})[what] = value
    both.load_state_dict(
        {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": known})
    return int(tensors["step"])
