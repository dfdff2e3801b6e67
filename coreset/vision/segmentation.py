"""Uncertainty of segmentation maps, streamed: every batch is reduced on its device to a few numbers
per image, and no map is kept.

Which reduction is right depends on the task: plain means favor large uncertain areas, `class_mean`
gives rare classes their say, `region_max` finds the worst place, `boundary_mean` weighs the pixels
that are hard to draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coreset.vision import pixels
from coreset.vision.aggregate import ImageScores
from coreset.vision.regions import RegionMap, Regions

REDUCTIONS = (
    "mean",
    "sum",
    "max",
    "quantile:Q",
    "class_mean",
    "region_mean",
    "region_max",
    "boundary_mean",
    "foreground",
    "predicted_class",
)


def _check_classes(maps: Any) -> None:
    """Raise TypeError for maps that hold no floating-point numbers, ValueError for maps of one
    class, whose softmax is 1 everywhere.
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        what = f"a tensor of {maps.dtype}" if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(f"maps: expected floating-point tensors or arrays, got {what}")
    if maps.ndim == 4 and maps.shape[1] < 2:
        raise ValueError(
            f"maps: expected at least two classes, got shape {tuple(maps.shape)}; of the logits z"
            " of one sigmoid make two: torch.cat([torch.zeros_like(z), z], dim=1)"
        )


class SegmentationScorer:
    """Score maps batch by batch; any batching gives the same values, and memory does not grow with
    the images but for their numbers.

    score: entropy, margin, least_confidence or bald. reduce: any of mean, sum, max, quantile:0.95
    over the pixels that are not ignored class_mean                       mean per predicted class,
    then the mean of these region_mean, region_max          mean per region, then the mean or the
    largest of these boundary_mean                    weighted mean: `boundary_weight` within
    `boundary_width` pixels of another predicted class, 1 elsewhere foreground, predicted_class
    share of pixels not predicted as class 0; the most frequent class but 0 (0 where there is no
    other) tile: side of the square regions when `update` is given none. probabilities: the maps are
    probabilities instead of logits. keep_regions: also keep the score and the pixels of every
    region, for `regions`: a compressed map per image, one for all where these are the same tiles.
    An image without any pixel left has NaN.

    >>> scorer = SegmentationScorer("margin", ["mean", "max"])
    >>> scorer.update([7], torch.tensor([0.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4))
    >>> scorer.scores("mean", empty="exclude").values.tolist()
    [1.0]
    """

    def __init__(
        self,
        score: str = "entropy",
        reduce: Sequence[str] = ("mean",),
        *,
        tile: int = 32,
        boundary_width: int = 1,
        boundary_weight: float = 5.0,
        probabilities: bool = False,
        keep_regions: bool = False,
    ) -> None:
        if score not in pixels.SCORES:
            raise ValueError(f"score: expected one of {', '.join(pixels.SCORES)}, got {score!r}")
        for name in [reduce] if isinstance(reduce, str) else reduce:
            self._check_name(name)
        if tile < 1 or boundary_width < 1 or not 0 < boundary_weight < np.inf:
            raise ValueError(
                "tile and boundary_width must be at least 1 and boundary_weight positive, got"
                f" {tile}, {boundary_width}, {boundary_weight}"
            )
        self.score, self.reduce = score, [reduce] if isinstance(reduce, str) else list(reduce)
        self.tile, self.boundary_width, self.boundary_weight = tile, boundary_width, boundary_weight
        self.probabilities, self.keep_regions = probabilities, keep_regions
        self._ids: dict[Any, int] = {}
        self._pending: list[tuple[list[Any], Tensor]] = []
        self._rows: list[NDArray[np.float64]] = []
        self._regions: list[tuple[NDArray[Any], ...]] = []
        self._maps: list[RegionMap] = []
        self._tiles: dict[tuple[int, int], RegionMap] = {}

    @staticmethod
    def _check_name(name: str) -> None:
        kind, _, q = name.partition(":")
        good = (
            name in REDUCTIONS
            if kind != "quantile"
            else q.replace(".", "", 1).isdigit() and 0 <= float(q) <= 1
        )
        if not good:
            raise ValueError(
                f"reduce: expected {', '.join(REDUCTIONS)} (Q from 0 to 1), got {name!r}"
            )

    @torch.no_grad()
    def update(
        self, ids: Iterable[Any], maps: Any, *, ignore: Any = None, regions: Any = None
    ) -> None:
        """Add images. maps (n, C, H, W), or T of these from members (a tensor (T, n, C, H, W), a
        list, a generator): bald is their disagreement, every other score that of their mean.

        ignore (n, H, W): True = the pixel does not count. regions (n, H, W): whole numbers, -1 = in
        none. Both as one array or one (H, W) per image. Raises ValueError naming the image for an
        id seen before, masks of another size, maps of fewer than two classes, NaN, probabilities
        that are none, and logits that are probabilities (the last three not before the results of a
        few batches are fetched: waiting for the device each time would slow the loop).
        """
        names = np.asarray(
            ids if isinstance(ids, np.ndarray | list | tuple) else list(ids)
        ).tolist()
        maps = torch.from_numpy(maps) if isinstance(maps, np.ndarray) else maps
        known = [k for i, k in enumerate(names) if k in self._ids or k in names[:i]]
        if known:
            raise ValueError(f"image {known[0]!r} was scored before")
        if self.score == "bald" or not isinstance(maps, Tensor) or maps.ndim == 5:
            part_of_first, wrong = list[Tensor](), list[Tensor]()
            score, probs = pixels.member_scores(
                self._watched(maps, part_of_first, wrong), self.probabilities, self.score
            )
            self._check_shape(names, probs)
            hide, region = self._masks(names, probs, ignore, regions)
            shown = [
                pixels.like_probs(part, None if hide is None else pixels.sampled(hide))
                for part in part_of_first
            ]
            self._add(
                names,
                score,
                None,
                probs,
                hide,
                region,
                shown[0] if shown else None,
                wrong[0] if wrong else None,
            )
        else:
            self._check_shape(names, maps)
            hide, region = self._masks(names, maps, ignore, regions)
            step = max(1, 2**25 // max(1, maps[0].numel()))
            for i in range(0, len(names), step):
                part = slice(i, i + step)
                mask = None if hide is None else hide[part]
                seen = None if mask is None else pixels.sampled(mask)
                self._add(
                    names[part],
                    *pixels.scored(maps[part], self.score, self.probabilities),
                    mask,
                    None if region is None else region[part],
                    (
                        None
                        if self.probabilities
                        else pixels.like_probs(pixels.sampled(maps[part]), seen)
                    ),
                )
        self._ids.update((k, len(self._ids) + i) for i, k in enumerate(names))
        if len(self._pending) >= 64:
            self._fetch()

    def _watched(
        self, members: Iterable[Tensor | NDArray[Any]], first: list[Tensor], wrong: list[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the members' maps; keep a sample of the first one's logits, or which pixels (n, H,
        W) of any are no probabilities.
        """
        for given in members:
            maps = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
            _check_classes(maps)
            if self.probabilities and maps.ndim == 4:
                bad = pixels.no_probs(maps)
                wrong[:] = [bad | wrong[0] if wrong and wrong[0].shape == bad.shape else bad]
            elif not first and maps.ndim == 4:
                first.append(pixels.sampled(maps).clone())
            yield maps

    def _check_shape(self, names: list[Any], maps: Tensor) -> None:
        if maps.ndim != 4 or len(maps) != len(names):
            raise ValueError(
                f"maps: expected shape ({len(names)}, C, H, W), one map per id, got"
                f" {tuple(maps.shape)}"
            )
        _check_classes(maps)

    def _masks(
        self, names: list[Any], maps: Tensor, ignore: Any, regions: Any
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the ignore and the region masks on the maps' device."""
        out: list[Tensor | None] = []
        for what, given in (("ignore", ignore), ("regions", regions)):
            if given is None:
                out.append(None)
                continue
            if len(given) != len(names):
                raise ValueError(f"{what}: {len(given)} masks for {len(names)} images")
            masks = [torch.as_tensor(m) for m in given]
            for name, mask in zip(names, masks, strict=True):
                if mask.shape != maps.shape[2:]:
                    raise ValueError(
                        f"{what}: image {name!r} has a mask of {tuple(mask.shape)} but maps of"
                        f" {tuple(maps.shape[2:])} pixels"
                    )
            out.append(torch.stack(masks).to(maps.device))
        return out[0], out[1]

    def _add(
        self,
        names: list[Any],
        score: Tensor,
        predicted: Tensor | None,
        probs: Tensor | None,
        ignore: Tensor | None,
        regions: Tensor | None,
        shown: Tensor | None = None,
        wrong: Tensor | None = None,
    ) -> None:
        """Reduce the scores (n, H, W). shown (n,): images whose logits are probabilities; wrong (n,
        H, W): pixels of a member that are none.
        """
        n, height, width = score.shape
        valid2d = torch.ones_like(score, dtype=torch.bool) if ignore is None else ~ignore.bool()
        by_predicted = {"class_mean", "foreground", "predicted_class"} & set(self.reduce)
        if probs is not None and (by_predicted or "boundary_mean" in self.reduce):
            predicted = probs.argmax(dim=1)
        flat, valid = score.reshape(n, -1), valid2d.reshape(n, -1)
        count = valid.sum(dim=1)
        off = ~flat.isfinite()
        if self.probabilities and probs is not None:
            off |= pixels.no_probs(probs).reshape(n, -1)
        if wrong is not None:
            off |= wrong.reshape(n, -1)
        bad = (off & valid).sum(dim=1)
        flat = torch.where(valid & ~off, flat, 0)
        groups: dict[str, tuple[Tensor, Tensor]] = {}
        if by_predicted and predicted is not None:
            classes = int(predicted.max()) + 1 if probs is None else probs.shape[1]
            groups["class"] = pixels.grouped(flat, valid, predicted.reshape(n, -1), classes)
        if {"region_mean", "region_max"} & set(self.reduce) or self.keep_regions:
            tiled = regions is None
            if regions is None:
                regions = pixels.tiles(height, width, self.tile, score.device).expand(
                    n, height, width
                )
                number = -(-height // self.tile) * -(-width // self.tile)
            else:
                number = max(1, int(regions.max()) + 1)
            groups["region"] = pixels.grouped(flat, valid, regions.reshape(n, -1), number)
            if self.keep_regions:
                self._keep(names, *groups["region"])
                self._keep_maps(regions, None if ignore is None else valid2d, tiled)
        out = []
        for name in self.reduce:
            if name == "boundary_mean" and predicted is not None:
                edge = pixels.boundary(predicted, valid2d, self.boundary_width).reshape(valid.shape)
                means, sizes = pixels.grouped(flat, valid, edge.to(torch.int8), 2)
                weight = sizes * torch.tensor(
                    [1.0, self.boundary_weight], dtype=torch.float64, device=sizes.device
                )
                out.append((means.nan_to_num(0) * weight).sum(dim=1) / weight.sum(dim=1))
            else:
                out.append(pixels.reduced(name, flat, valid, count, groups))
        known = [torch.where(count > 0, x.double(), torch.nan) for x in out]
        odd = torch.zeros_like(bad) if shown is None else shown
        self._pending.append((names, torch.stack([bad.double(), odd.double(), *known])))

    def _keep(self, names: list[Any], means: Tensor, counts: Tensor) -> None:
        at, region = (x.cpu().numpy() for x in torch.nonzero(counts, as_tuple=True))
        ids = np.array(
            [f"{names[i]}/{r}" for i, r in zip(at.tolist(), region.tolist(), strict=True)], object
        )
        values = (
            means.cpu().numpy()[at, region],
            counts.cpu().numpy()[at, region].astype(np.float64),
        )
        self._regions.append((ids, *values, at + len(self._maps), region))

    def _keep_maps(self, regions: Tensor, valid: Tensor | None, tiled: bool) -> None:
        """Keep the region of every pixel (n, H, W) that counts; the same tiles once."""
        shape = (int(regions.shape[1]), int(regions.shape[2]))
        if tiled and valid is None:
            if shape not in self._tiles:
                self._tiles[shape] = RegionMap.of(regions[0].cpu().numpy())
            self._maps += [self._tiles[shape]] * len(regions)
            return
        shown = regions if valid is None else torch.where(valid, regions, -1)
        self._maps += [RegionMap.of(one) for one in shown.to(torch.int32).cpu().numpy()]

    def _fetch(self) -> None:
        """Bring finished numbers to the host and refuse what is undefined."""
        pending, self._pending = self._pending, []
        for names, block in pending:
            rows = block.cpu().numpy().T
            if (rows[:, 0] > 0).any():
                at = int(np.argmax(rows[:, 0] > 0))
                what = (
                    "NaN, or probabilities that are negative or do not sum to 1 (are these logits?"
                    " Then leave probabilities=False)"
                    if self.probabilities
                    else "NaN or infinite logits"
                )
                raise ValueError(
                    f"image {names[at]!r}: {int(rows[at, 0])} pixels have {what}; mask them with"
                    " `ignore` or mend the maps"
                )
            if rows[:, 1].any():
                raise ValueError(
                    f"image {names[int(np.argmax(rows[:, 1]))]!r}: the logits of all pixels are"
                    " non-negative and sum to 1 or to 100: these are probabilities; say"
                    " SegmentationScorer(..., probabilities=True), and divide percents by 100"
                )
            self._rows.append(rows[:, 2:])

    @property
    def ids(self) -> NDArray[Any]:
        """Return the ids in the order seen (I,)."""
        return np.array(list(self._ids))

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Return one column (I,) per reduction, in the order of `ids`. Raises ValueError when
        nothing was scored.
        """
        self._fetch()
        if not self._rows:
            raise ValueError("no maps were scored")
        table = np.concatenate(self._rows)
        return {name: table[:, i] for i, name in enumerate(self.reduce)}

    def scores(self, name: str, *, empty: str) -> ImageScores:
        """Return one reduction for `select`, with the policy for images without a pixel that
        counts.
        """
        columns = self.columns()
        if name not in columns:
            raise KeyError(f"'{name}' was not asked for; reduce has {', '.join(columns)}")
        return ImageScores(self.ids, columns[name], empty, "segmentation")

    def regions(self) -> Regions:
        """Return every region as a row: with `Pool(len(ids), ids=ids)` and `costs={"pixels":
        pixels}` they are chosen like images.

        `mask` and `rle` of the answer say which pixels a region covers.
        """
        self._fetch()
        if not self._regions:
            raise ValueError("no regions were kept: SegmentationScorer(..., keep_regions=True)")
        ids, values, counts, image, number = (
            np.concatenate(parts) for parts in zip(*self._regions, strict=True)
        )
        return Regions(np.array(ids.tolist()), values, counts, image, number, tuple(self._maps))
