"""Connected components of a graph whose edges lie in files: in one task where they fit, else by
large-star and small-star rounds, which no machine has to hold.

Kiveris et al., "Connected Components in MapReduce and Beyond", SoCC 2014. A round of each brings
every node nearer to the lowest node of its component; the rounds end when the edges are stars whose
centers are these, after about as many as the logarithm of the diameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.engine import PART, Engine
from coreset.curation.runtime.checkpoint import is_whole, write_table
from coreset.curation.runtime.steps import read_columns

Int = NDArray[np.int64]
ONE_TASK = 4_000_000  # edges that one task takes
_MOST = 100  # rounds
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Edges:
    """A file of edges (`u`, `v`): where, how many, and a sum of their hashes in any order."""

    path: Any
    count: int
    hash: int


def spread_over(nodes: Int, parts: int) -> Int:
    """Return the part (n,) of every node, by a hash of it."""
    mixed = nodes.astype(np.uint64) * _ODD
    mixed ^= mixed >> np.uint64(32)
    return (mixed * _ODD >> np.uint64(20)).astype(np.int64) % parts


def write_edges(path: Any, u: Int, v: Int) -> Edges:
    """Write edges, each once."""
    if len(u):
        order = np.lexsort((v, u))
        u, v = u[order], v[order]
        new = np.append(True, (u[1:] != u[:-1]) | (v[1:] != v[:-1]))
        u, v = u[new], v[new]
    write_table(path, pa.table({"u": pa.array(u, pa.int64()), "v": pa.array(v, pa.int64())}))
    mixed = (u.astype(np.uint64) * _ODD ^ v.astype(np.uint64)) * _ODD
    return Edges(path, len(u), int((mixed ^ mixed >> np.uint64(29)).sum(dtype=np.uint64)))


def label(edges: Int) -> tuple[Int, Int]:
    """Return the nodes (m,) of edges (E, 2), ascending, and the lowest node (m,) of the component
    of each.

    >>> nodes, lowest = label(np.array([[1, 5], [5, 9], [2, 3]]))
    >>> nodes.tolist(), lowest.tolist()
    ([1, 2, 3, 5, 9], [1, 2, 2, 1, 1])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = np.unique(edges)
    if not len(nodes):
        return nodes.astype(np.int64), nodes.astype(np.int64)
    ends = np.searchsorted(nodes, edges)
    graph = coo_array(
        (np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes))
    )
    component = connected_components(graph, directed=False)[1]
    _, first, component = np.unique(component, return_index=True, return_inverse=True)
    return nodes.astype(np.int64), nodes[first][component].astype(np.int64)


def large_star(node: Int, near: Int) -> tuple[Int, Int]:
    """Return the edges of a large star: every neighbor above a node is joined to the lowest of the
    node and its neighbors. node, near (n,): all edges, both ways round.
    """
    node, near, lowest = _lowest(node, near)
    here = (near > node) & (near != lowest)
    return near[here], lowest[here]


def small_star(node: Int, near: Int) -> tuple[Int, Int]:
    """Return the edges of a small star: a node and its neighbors below it are joined to the lowest
    of them. node, near (n,): all edges, the higher end first.
    """
    node, near, lowest = _lowest(node, near)
    here = near != lowest
    return np.concatenate([near[here], node]), np.concatenate([lowest[here], lowest])


def _lowest(node: Int, near: Int) -> tuple[Int, Int, Int]:
    """Return edges in the order of nodes, with the lowest of each node and its neighbors."""
    order = np.argsort(node, kind="stable")
    node, near = node[order], near[order]
    start = np.flatnonzero(np.append(True, node[1:] != node[:-1])) if len(node) else node
    if not len(start):
        return node, near, near
    size = np.diff(np.append(start, len(node)))
    return node, near, np.repeat(np.minimum(np.minimum.reduceat(near, start), node[start]), size)


@dataclass(frozen=True)
class _Read:
    """Read a file of edges for a star."""

    large: bool
    parts: int

    def __call__(self, path: Any) -> pa.Table:
        table = read_columns(path)
        u, v = (table[n].to_numpy() for n in ("u", "v"))
        low, high = np.minimum(u, v), np.maximum(u, v)
        node = np.concatenate([high, low]) if self.large else high
        near = np.concatenate([low, high]) if self.large else low
        return pa.table({PART: spread_over(node, self.parts), "node": node, "near": near})


@dataclass(frozen=True)
class _Star:
    """Write the edges of the stars around the nodes of one part."""

    folder: Any
    large: bool

    def __call__(self, item: tuple[int, pa.Table]) -> Edges:
        part, table = item
        star = large_star if self.large else small_star
        u, v = star(table["node"].to_numpy(), table["near"].to_numpy())
        return write_edges(self.folder / f"{part:05d}.parquet", u, v)


@dataclass(frozen=True)
class _LabelOnce:
    """Label all edges in one task."""

    out: Any

    def __call__(self, paths: Sequence[Any]) -> Edges:
        parts = [np.empty((0, 2), np.int64)]
        for path in paths:
            table = read_columns(path)
            parts.append(np.stack([table["u"].to_numpy(), table["v"].to_numpy()], axis=1))
        nodes, lowest = label(np.concatenate(parts))
        here = nodes != lowest
        return write_edges(self.out, nodes[here], lowest[here])


def components(
    engine: Engine, edges: Sequence[Edges], folder: Any, one_task: int = ONE_TASK
) -> tuple[list[Edges], int]:
    """Return files of edges (node, lowest node of its component), the lowest ones themselves left
    out, and how many rounds of both stars it took; 0: one task.

    edges: files of edges between nodes of at least 0. folder: where files are written. Raises
    RuntimeError when the edges do not settle.
    """
    edges = [e for e in edges if e.count]
    total = sum(e.count for e in edges)
    if not total:
        return [], 0
    if total <= one_task:
        path = folder / "labels.parquet"
        if is_whole(path):
            path.unlink()
        return list(engine.map(_LabelOnce(path), [[e.path for e in edges]])), 0
    parts = max(1, -(-total // one_task))
    for number in range(1, _MOST + 1):
        before = sum(e.count for e in edges), sum(e.hash for e in edges) % 2**64
        for large in (True, False):
            name = f"{number:02d}-{'large' if large else 'small'}"
            star = _Star(folder / name, large)
            files = [e.path for e in edges if e.count]
            new = list(engine.exchange(_Read(large, parts), files, star, parts))
            if number > 1 or not large:
                for path in files:
                    path.unlink(missing_ok=True)
            edges = new
        if before == (sum(e.count for e in edges), sum(e.hash for e in edges) % 2**64):
            return [e for e in edges if e.count], number
    raise RuntimeError(f"components: {total} edges have not settled after {_MOST} rounds")
