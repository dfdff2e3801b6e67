"""Several images in one: a stored image is a mosaic of f x f smaller ones, each enlarged to the
full size before training.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022
(arXiv:2205.14959): multi-formation.
"""

from __future__ import annotations

from torch import Tensor, nn


def decode(images: Tensor, factor: int) -> Tensor:
    """Return images (M f^2, C, S, S) from stored ones (M, C, S, S): the f x f cells of each, row by
    row, enlarged bilinearly to S pixels a side.

    What one stored image gives stands together. Where f does not divide S, zeros are added at the
    bottom and on the right first. f = 1 changes nothing.

    >>> import torch
    >>> decode(torch.arange(4.0).view(1, 1, 2, 2), 2)[:, 0, 0, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if factor < 1 or factor > images.shape[-1]:
        raise ValueError(
            f"factor: expected 1 to {images.shape[-1]} (the side of an image), got {factor}"
        )
    if factor == 1:
        return images
    m, c, side, _ = images.shape
    add = -side % factor
    padded = nn.functional.pad(images, (0, add, 0, add))
    cell = (side + add) // factor
    cells = (
        padded.view(m, c, factor, cell, factor, cell)
        .permute(0, 2, 4, 1, 3, 5)
        .reshape(-1, c, cell, cell)
    )
    return nn.functional.interpolate(cells, (side, side), mode="bilinear", align_corners=False)


def mosaic(cells: Tensor, factor: int) -> Tensor:
    """Return images (M, C, f s, f s) tiled from cells (M f^2, C, s, s), row by row: the layout that
    `decode` takes apart.

    >>> import torch
    >>> mosaic(torch.arange(4.0).view(4, 1, 1, 1), 2)[0, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    if len(cells) % factor**2:
        raise ValueError(
            f"cells: expected a whole number of mosaics of {factor**2}, got {len(cells)}"
        )
    n, c, s, _ = cells.shape
    tiles = cells.view(n // factor**2, factor, factor, c, s, s).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(-1, c, factor * s, factor * s)


def shrink(images: Tensor, side: int) -> Tensor:
    """Return images (M, C, side, side), made smaller by averaging areas: what a mosaic is filled
    with from whole images.
    """
    return nn.functional.interpolate(images, (side, side), mode="area")


def pack(images: Tensor, factor: int) -> Tensor:
    """Return stored images (M, C, S, S) whose cells show f^2 whole images (M f^2, C, S, S) each,
    made smaller; the start of an optimization.

    >>> import torch
    >>> pack(torch.ones(4, 1, 6, 6), 2).shape
    torch.Size([1, 1, 6, 6])
    """
    if factor == 1:
        return images
    side = images.shape[-1]
    tiled = mosaic(shrink(images, -(-side // factor)), factor)
    return tiled[..., :side, :side].contiguous()
