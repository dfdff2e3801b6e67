"""Seconds per iteration of distillation against a plain transcription of the published inner loops,
in one process, interleaved; the same loss and pixel gradient first.

python scripts/benchmarks/distill.py --all             every row: results/distill/*.json and
table.md python scripts/benchmarks/distill.py dm_1 dc_1         some rows python
scripts/benchmarks/distill.py --all --quick     tiny sizes, one trial, nothing written: does
everything run?

On Fashion-MNIST (Debian's dataset-fashion-mnist). A row's budget is a number of iterations; all are
timed by slope, so that what is made once (the pool of networks and what the real images look like
through them) is left out of an iteration; it stands in the notes.
"""

import sys
from pathlib import Path

# this file's own folder would hide the package `strategies`
sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import cache, partial  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.func import functional_call, grad, stack_module_state, vmap  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from coreset.distillation import Source  # noqa: E402
from coreset.distillation.descend import descend, sgd  # noqa: E402
from coreset.distillation.nn.convnet import convnet, random_net  # noqa: E402
from coreset.distillation.nn.siamese import Draw  # noqa: E402
from coreset.strategies.distill import dc, dm  # noqa: E402
from coreset.strategies.distill.matching import DISTANCES, real_means  # noqa: E402
from coreset.trainers.data.sources import fashion_mnist  # noqa: E402
from coreset.trainers.distillation.round import source_of  # noqa: E402
from scripts.benchmarks import runner  # noqa: E402
from scripts.benchmarks.harness import Method, Row  # noqa: E402

CLASSES = 10
PLAIN = Draw(("",) * CLASSES, torch.zeros(CLASSES, 3))  # no augmentation


@cache
def source() -> Source:
    """Return Fashion-MNIST as a distillation sees it."""
    data = fashion_mnist()
    return source_of(data, data.labels)


def batch(real: int, seed: int) -> list[Tensor]:
    """Return `real` random images of each class."""
    rng = np.random.default_rng(seed)
    return [source().tensor(rng.choice(r, real, replace=False)) for r in source().rows(0)]


def dm_loop(images: Tensor, steps: int, real: int, width: int, lr: float = 1.0) -> Tensor:
    """The published inner loop of DM: a new random network each step, then class by class the real
    images, the made ones, and the distance of their means.
    """
    x = images.clone().requires_grad_()
    optimizer = torch.optim.SGD([x], lr=lr, momentum=0.5)
    ipc = len(images) // CLASSES
    for step in range(steps):
        net: Any = random_net(convnet(CLASSES, 1, 28, width), step)
        seen = batch(real, step)
        loss = torch.zeros(())
        for c in range(CLASSES):
            with torch.no_grad():
                goal = net.embed(seen[c]).mean(dim=0)
            mean = net.embed(x[c * ipc : (c + 1) * ipc]).mean(dim=0)
            loss = loss + ((goal - mean) ** 2).sum()
        (x.grad,) = torch.autograd.grad(loss, x)
        optimizer.step()
    return x.detach()


def dc_slopes(net: torch.nn.Module, x: Tensor, seen: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One step of the published inner loop of DC: loss and pixel gradient, class by class, the
    distance row by row as matrices.
    """
    parameters = list(net.parameters())
    ipc = len(x) // CLASSES
    loss = torch.zeros(())
    for c in range(CLASSES):

        def of(images: Tensor, graph: bool, c: int = c) -> Any:
            value = torch.nn.functional.cross_entropy(net(images), torch.full((len(images),), c))
            return torch.autograd.grad(value, parameters, create_graph=graph)

        for r, m in zip(of(seen[c], False), of(x[c * ipc : (c + 1) * ipc], True), strict=True):
            if r.ndim > 1:
                a, b = r.reshape(len(r), -1), m.reshape(len(m), -1)
                loss = (
                    loss + (1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
                )
    return loss.detach(), torch.autograd.grad(loss, x)[0]


def dc_loop(images: Tensor, steps: int, real: int, width: int, lr: float = 0.1) -> Tensor:
    """The published loop of DC at 1 image per class: a new network each step."""
    x = images.clone().requires_grad_()
    optimizer = torch.optim.SGD([x], lr=lr, momentum=0.5)
    for step in range(steps):
        net = random_net(convnet(CLASSES, 1, 28, width), step).requires_grad_(True)
        _, x.grad = dc_slopes(net, x, batch(real, step))
        optimizer.step()
    return x.detach()


def _agree(ours: Any, theirs: Any, k: int) -> dict[str, Any]:
    return {
        "random": (
            "the loss and the pixel gradient on one network and batch are compared in the facts of"
            " ours"
        )
    }


def _sizes(scale: float) -> tuple[int, int, int]:
    return (256, 128, 20) if scale == 1 else (8, 4, 2)


def dm_row(ipc: int, scale: float = 1) -> Row:
    """Pooled distribution matching against the loop of fresh networks."""
    real, width, pool = _sizes(scale)
    images = torch.randn(CLASSES * ipc, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    method = dm.Dm(mode="pooled", real=real, width=width, pool=pool, augment="none")
    distance = DISTANCES["mean"]
    begin = time.process_time()
    target = method.targets(source(), 0, True)
    for step in range(pool):
        target(step)
    once = time.process_time() - begin

    def ours(steps: int) -> Any:
        def gradient(step: int, now: Any) -> float:
            loss, now["images"].grad = dm.match(now["images"], target(step), distance)
            return float(loss)

        return descend({"images": images}, gradient, steps, sgd(1.0))["images"]

    def facts(_: Any) -> dict[str, Any]:
        net: Any = random_net(convnet(CLASSES, 1, 28, width), 5)
        seen, x = batch(real, 5), images.clone().requires_grad_()
        loss: Any = sum(
            (
                (net.embed(seen[c]).mean(0) - net.embed(x[c * ipc : (c + 1) * ipc]).mean(0)) ** 2
            ).sum()
            for c in range(CLASSES)
        )
        (slope,) = torch.autograd.grad(loss, x)
        matched, mine = dm.match(
            images, dm.Target(net, PLAIN, 0, real_means(distance, net, iter(seen), 0)), distance
        )
        return {
            "loss_of_ours": float(matched),
            "loss_of_the_loop": float(loss),
            "gradient_difference": float((mine - slope).abs().max() / slope.abs().max()),
        }

    few = {1: (40, 120), 10: (10, 30)}[ipc] if scale == 1 else (2, 4)
    return Row(
        f"distribution matching, one iteration at {ipc} a class, {real} real images a class, ConvNet-3 of width {width}, Fashion-MNIST",
        1,
        Method(f"coreset, pooled ({pool} networks)", ours, few, note=f"the pool is made once, in {once:.0f} CPU s", small=0),
        [Method("published loop (fresh networks, class by class)", lambda steps: dm_loop(images, steps, real, width), (1, 3), small=0)],
        _agree,
        f"{20 if ipc == 1 else 10}x",
        facts=facts,
        trials=3,
    )  # fmt: skip


def dc_row(ipc: int, scale: float = 1) -> Row:
    """Gradient matching against the published loop, a new network each step."""
    real, width = (256, 32) if scale == 1 else (8, 4)
    images = torch.randn(CLASSES * ipc, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    def ours(steps: int) -> Any:
        def gradient(step: int, now: Any) -> float:
            net = random_net(convnet(CLASSES, 1, 28, width), step)
            loss, now["images"].grad = dc.match(
                net, now["images"], batch(real, step), PLAIN, "cosine"
            )
            return float(loss)

        return descend({"images": images}, gradient, steps, sgd(0.1))["images"]

    def facts(_: Any) -> dict[str, Any]:
        net, seen = random_net(convnet(CLASSES, 1, 28, width), 5), batch(real, 5)
        matched, mine = dc.match(net, images, seen, PLAIN, "cosine")
        loss, slope = dc_slopes(net.requires_grad_(True), images.clone().requires_grad_(), seen)
        return {
            "loss_of_ours": float(matched),
            "loss_of_the_loop": float(loss),
            "gradient_difference": float((mine - slope).abs().max() / slope.abs().max()),
        }

    few = (1, 3) if scale == 1 else (1, 2)
    return Row(
        f"gradient matching, one iteration at {ipc} a class, {real} real images a class, ConvNet-3 of width {width}, Fashion-MNIST",
        1,
        Method("coreset", ours, few, small=0, note="one class after the other: all in one batched call takes twice as long on this processor"),
        [Method("published loop (class by class)", lambda steps: dc_loop(images, steps, real, width), few, small=0)],
        _agree,
        "2x",
        facts=facts,
        trials=3,
    )  # fmt: skip


def networks_row(ipc: int, scale: float = 1) -> Row:
    """Training several networks, each on a set of its own: one after the other, as the evaluation
    does, against all in one batched call.
    """
    count, width = 5, 32 if scale == 1 else 4
    images = torch.randn(
        count, CLASSES * ipc, 1, 28, 28, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(CLASSES).repeat_interleave(ipc)
    rate = 0.01

    def nets() -> list[torch.nn.Module]:
        return [
            random_net(convnet(CLASSES, 1, 28, width), i).requires_grad_(True) for i in range(count)
        ]

    def ours(steps: int) -> Any:
        trained = nets()
        for net, x in zip(trained, images, strict=True):
            weights: list[Tensor] = list(net.parameters())
            for _ in range(steps):
                slopes = torch.autograd.grad(cross_entropy(net(x), labels), weights)
                with torch.no_grad():
                    torch._foreach_add_(weights, slopes, alpha=-rate)
        return [
            torch.cat([w.detach().ravel() for w in net.parameters()]).numpy() for net in trained
        ]

    def batched(steps: int) -> Any:
        trained = nets()
        weights, _ = stack_module_state(trained)
        weights = {n: w.detach() for n, w in weights.items()}
        slope = vmap(grad(lambda w, x: cross_entropy(functional_call(trained[0], w, (x,)), labels)))
        for _ in range(steps):
            gradient = slope(weights, images)
            weights = {n: w - rate * gradient[n] for n, w in weights.items()}
        return [torch.cat([w[i].ravel() for w in weights.values()]).numpy() for i in range(count)]

    def agree(one: Any, other: Any, k: int) -> dict[str, Any]:
        gaps = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(one, other, strict=True)]
        return {"largest_difference": float(max(gaps)), "largest_distance": 1.0}

    few = 20 if scale == 1 else 2
    return Row(
        f"training {count} networks on {count} sets of {CLASSES * ipc} images, {few} steps,"
        f" ConvNet-3 of width {width}",
        few,
        Method("coreset, one after the other", ours, small=2),
        [Method("stack_module_state and vmap, all at once", batched, small=2)],
        agree,
        "the faster of the two on this device",
    )


ROWS: dict[str, Callable[[float], Row]] = {
    "dm_1": partial(dm_row, 1), "dm_10": partial(dm_row, 10), "dc_1": partial(dc_row, 1), "dc_10": partial(dc_row, 10),
    "networks_1": partial(networks_row, 1), "networks_10": partial(networks_row, 10),
}  # fmt: skip

if __name__ == "__main__":
    runner.main(ROWS, __doc__, Path("results/distill"), "Distillation against the published loops")
