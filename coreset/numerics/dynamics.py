"""Training dynamics in running statistics: O(N) state instead of every logit of every epoch.

Forgetting: Toneva et al., ICLR 2019 (arXiv:1812.05159). AUM: Pleiss et al., NeurIPS 2020
(arXiv:2001.10528); on probabilities: Zheng et al. (CCS), ICLR 2023 (arXiv:2210.15809). EL2N: Paul
et al., NeurIPS 2021 (arXiv:2107.07075). Dyn-Unc: He et al., CVPR Workshops 2024 (arXiv:2306.05175).
DUAL: Cho et al., ICML 2025 (arXiv:2502.06905). TDDS: Zhang et al., CVPR 2024 (arXiv:2311.13613).
Cumulative sample loss: Ravikumar et al., ICML 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coreset.core.ranges import check_range
from coreset.numerics.tensors import as_tensor

STATISTICS = (
    "forgetting",
    "aum",
    "aum_probs",
    "el2n",
    "dyn_unc",
    "dyn_unc_all",
    "dual",
    "mean_prob",
    "tdds",
    "memorization",
)
TRACES = ("true_probs", "margins", "losses")
SCALE = 10.0  # the released code of Dyn-Unc and DUAL reports ten times the standard deviation
_LEAST = {"dyn_unc": 11, "dyn_unc_all": 10, "dual": 10, "mean_prob": 10, "tdds": 10}
_FOLLOWS = {"dual": ("mean_prob",)}  # DUAL's Beta sampling reads both


def least_epochs(names: Iterable[str]) -> int:
    """Return the epochs that statistics of these names need with the default windows; fewer leave
    them undefined.

    >>> least_epochs(["aum"]), least_epochs(["aum", "dyn_unc"])
    (1, 11)
    """
    return max((_LEAST.get(name, 1) for name in names), default=1)


class DynamicsRecorder:
    """Watch a classifier train, batch by batch, and give one number per example at the end.

    size: examples in the dataset. statistics: which columns `finish` gives, of

    - `forgetting`: how often correct turned wrong between two sightings; an example that was never
      correct gets the number of epochs + 1, above any other.
    - `aum`: mean of z_y - max_{c != y} z_c on logits (low = hard or mislabeled); `aum_probs`: the
      same on probabilities (CCS sums it; same order).
    - `el2n`: mean of ||p - onehot(y)|| over epochs < `el2n_epochs`.
    - `dyn_unc`: mean of 10 std(p_y) over the sliding windows of `window` sightings, without the
      last window, as released (std with n - 1).
    - `dyn_unc_all`: the same over every window, the last one too, as the authors of DUAL compute
      it.
    - `dual`: mean of 10 std(p_y) (1 - mean p_y) over the windows within epochs < `dual_epochs`;
      comes with `mean_prob`, the mean p_y over the same epochs.
    - `tdds`: in each window of `tdds_window` sightings the norm of (d_t - mean d), d_t = sum_c |p_t
      (ln p_t - ln p_{t-1})|, then the moving average S <- (1 - `tdds_decay`) S + `tdds_decay` norm
      over the windows within epochs < `tdds_epochs` (None: all).
    - `memorization`: mean cross-entropy over all sightings (cumulative sample loss), a proxy for
      Feldman's leave-one-out score.
    - `true_probs`, `margins` (of `kind`), `losses`: raw traces (N, E) float32, NaN where an example
      was not seen.

    kind: what `update` is given, `logits` or `probs`. An example counts once per epoch: repeats (a
    padded sampler, a replayed batch) are ignored. State per example: a few float64; with `dyn_unc`,
    `dyn_unc_all` or `dual` the last `window` values of p_y, with `tdds` the last probabilities (C
    float32) and `tdds_window` - 1 changes, with a trace 4 bytes an epoch.

    >>> recorder = DynamicsRecorder(2, ["forgetting", "aum"])
    >>> for epoch, z in enumerate([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 1.0]]]):
    ...     recorder.update([0, 1], z, [0, 0], epoch)
    >>> {name: values.tolist() for name, values in recorder.finish().items()}
    {'forgetting': [1.0, 3.0], 'aum': [0.0, -1.0]}
    """

    def __init__(
        self,
        size: int,
        statistics: Iterable[str] = ("forgetting", "aum", "el2n", "dyn_unc", "dual"),
        *,
        kind: str = "logits",
        window: int = 10,
        el2n_epochs: int = 10,
        dual_epochs: int = 30,
        tdds_epochs: int | None = None,
        tdds_window: int = 10,
        tdds_decay: float = 0.9,
    ) -> None:
        wanted = set(statistics)
        unknown = wanted - {*STATISTICS, *TRACES}
        if unknown:
            raise ValueError(
                f"statistics: unknown {sorted(unknown)}; known: {', '.join((*STATISTICS, *TRACES))}"
            )
        if kind not in ("logits", "probs"):
            raise ValueError(f"kind: expected logits or probs, got {kind!r}")
        if kind == "probs" and "aum" in wanted:
            raise ValueError("aum: is defined on logits; with kind='probs' record aum_probs")
        if window < 2 or tdds_window < 2:
            raise ValueError(
                f"windows hold at least 2 sightings, got window={window}, tdds_window={tdds_window}"
            )
        if (
            el2n_epochs < 1
            or dual_epochs < window
            or (tdds_epochs is not None and tdds_epochs < tdds_window)
        ):
            raise ValueError(
                "epochs: expected el2n_epochs >= 1, dual_epochs >= window and tdds_epochs >="
                f" tdds_window, got {el2n_epochs}, {dual_epochs} with {window}, {tdds_epochs} with"
                f" {tdds_window}"
            )
        check_range("a number in (0, 1]", tdds_decay=tdds_decay)
        for name in tuple(wanted):
            wanted.update(_FOLLOWS.get(name, ()))
        self.size = size
        self.statistics = tuple(n for n in (*STATISTICS, *TRACES) if n in wanted)
        self.options: dict[str, Any] = {
            "kind": kind,
            "window": window,
            "el2n_epochs": el2n_epochs,
            "dual_epochs": dual_epochs,
            "tdds_epochs": tdds_epochs,
            "tdds_window": tdds_window,
            "tdds_decay": tdds_decay,
        }
        self._state: dict[str, NDArray[Any]] = {
            "seen": np.zeros(size, np.int32),
            "last": np.full(size, -1, np.int32),
        }
        self._traces: dict[str, list[NDArray[np.float32]]] = {n: [] for n in TRACES if n in wanted}
        for name in wanted - set(TRACES):
            self._state[name] = np.zeros(size)
        for name in wanted & {"el2n", "dual", "mean_prob", "tdds"}:
            self._state[name + ".n"] = np.zeros(size, np.int32)
        if "forgetting" in wanted:
            self._state |= {"correct": np.zeros(size, bool), "learned": np.zeros(size, bool)}
        if wanted & {"dyn_unc", "dyn_unc_all", "dual"}:
            self._state["ring"] = np.zeros((size, window))
        if "tdds" in wanted:
            self._state["changes"] = np.zeros((size, tdds_window - 1))

    def update(self, indices: Any, outputs: Any, labels: Any, epoch: int) -> None:
        """Take one batch: positions (B,), logits or probabilities (B, C), labels (B,), tensors or
        arrays, and the epoch they were computed in (from 0).

        Raises ValueError when shapes differ, a position or a label is out of range, or an output is
        not finite.
        """
        rows = as_tensor(indices).cpu().numpy().astype(np.int64).reshape(-1)
        z = as_tensor(outputs).double().cpu()
        y = as_tensor(labels).cpu().long().reshape(-1)
        if z.ndim != 2 or len(z) != len(rows) or len(y) != len(rows):
            raise ValueError(
                f"expected {len(rows)} outputs of shape (B, C) and as many labels, got"
                f" {tuple(z.shape)} and {tuple(y.shape)}"
            )
        if not len(rows):
            return
        if rows.min() < 0 or rows.max() >= self.size:
            raise ValueError(
                f"indices: expected positions in 0..{self.size - 1}, got {rows.min()}..{rows.max()}"
            )
        if z.shape[1] < 2 or int(y.min()) < 0 or int(y.max()) >= z.shape[1]:
            raise ValueError(
                f"labels: expected classes in 0..{z.shape[1] - 1} of at least 2, got"
                f" {int(y.min())}..{int(y.max())}"
            )
        if not bool(torch.isfinite(z).all()):
            raise ValueError(f"outputs: NaN or infinite values in epoch {epoch}")
        first = np.sort(np.unique(rows, return_index=True)[1])
        first = first[self._state["last"][rows[first]] < epoch]
        if len(first):
            keep = torch.from_numpy(first)
            self._fold(rows[first], z[keep], y[keep], epoch)

    def _fold(self, rows: NDArray[np.int64], z: torch.Tensor, y: torch.Tensor, epoch: int) -> None:
        """Add one sighting of distinct examples to the state."""
        s, o, has = self._state, self.options, set(self.statistics)
        logits = o["kind"] == "logits"
        p = z.softmax(dim=1) if logits else z
        at = y[:, None]
        true = p.gather(1, at)[:, 0].numpy()
        loss = (
            (torch.logsumexp(z, 1) - z.gather(1, at)[:, 0]).numpy()
            if logits
            else -np.log(true.clip(1e-12))
        )
        seen = s["seen"][rows]

        def margin(x: torch.Tensor) -> NDArray[np.float64]:
            other = x.scatter(1, at, -torch.inf).amax(dim=1)
            return np.asarray((x.gather(1, at)[:, 0] - other).numpy())

        if "forgetting" in has:
            correct = (z.argmax(dim=1) == y).numpy()
            s["forgetting"][rows] += s["correct"][rows] & ~correct
            s["correct"][rows] = correct
            s["learned"][rows] |= correct
        if "aum" in has:
            s["aum"][rows] += margin(z)
        if "aum_probs" in has:
            s["aum_probs"][rows] += margin(p)
        if "el2n" in has and epoch < o["el2n_epochs"]:
            s["el2n"][rows] += (p - torch.nn.functional.one_hot(y, p.shape[1])).norm(dim=1).numpy()
            s["el2n.n"][rows] += 1
        if "memorization" in has:
            s["memorization"][rows] += loss
        if "mean_prob" in has and epoch < o["dual_epochs"]:
            s["mean_prob"][rows] += true
            s["mean_prob.n"][rows] += 1
        if "ring" in s:
            full = rows[seen >= o["window"]]
            # a window counts once the next sighting is there: the last one never does
            if "dyn_unc" in has:
                s["dyn_unc"][full] += SCALE * s["ring"][full].std(axis=1, ddof=1)
            s["ring"][rows, seen % o["window"]] = true
            full = rows[seen + 1 >= o["window"]]
            if "dyn_unc_all" in has:
                s["dyn_unc_all"][full] += SCALE * s["ring"][full].std(axis=1, ddof=1)
            if "dual" in has and epoch < o["dual_epochs"]:
                ring = s["ring"][full]
                s["dual"][full] += SCALE * ring.std(axis=1, ddof=1) * (1 - ring.mean(axis=1))
                s["dual.n"][full] += 1
        if "tdds" in has and (o["tdds_epochs"] is None or epoch < o["tdds_epochs"]):
            self._fold_tdds(rows, p.numpy(), seen)
        for name, values in (("true_probs", true), ("losses", loss)):
            self._trace(name, rows, values, epoch)
        if "margins" in has:
            self._trace("margins", rows, margin(z), epoch)
        s["seen"][rows] += 1
        s["last"][rows] = epoch

    def _fold_tdds(
        self, rows: NDArray[np.int64], p: NDArray[np.float64], seen: NDArray[np.int32]
    ) -> None:
        s, width, decay = self._state, self.options["tdds_window"] - 1, self.options["tdds_decay"]
        if "previous" not in s:
            s["previous"] = np.zeros((self.size, p.shape[1]), np.float32)
        old, now, times = rows[seen > 0], p[seen > 0], seen[seen > 0]
        change = np.abs(now * (np.log(now + 1e-8) - np.log(s["previous"][old] + 1e-8))).sum(axis=1)
        s["changes"][old, (times - 1) % width] = change
        full = old[times >= width]
        changes = s["changes"][full]
        norm = np.linalg.norm(changes - changes.mean(axis=1, keepdims=True), axis=1)
        s["tdds"][full] = (1 - decay) * s["tdds"][full] + decay * norm
        s["tdds.n"][full] += 1
        s["previous"][rows] = p

    def _trace(
        self, name: str, rows: NDArray[np.int64], values: NDArray[np.float64], epoch: int
    ) -> None:
        if name in self._traces:
            trace = self._traces[name]
            while len(trace) <= epoch:
                trace.append(np.full(self.size, np.nan, np.float32))
            trace[epoch][rows] = values

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return the columns: statistics (N,) float64, traces (N, E) float32.

        NaN where a statistic is undefined: an example never seen, or seen fewer times than a window
        is long (`dyn_unc`: window + 1).
        """
        s, o = self._state, self.options
        seen = s["seen"]
        counts: dict[str, NDArray[Any]] = {
            "dyn_unc": np.maximum(seen - o["window"], 0),
            "dyn_unc_all": np.maximum(seen - o["window"] + 1, 0),
            "tdds": s.get("tdds.n", seen) > 0,
            "forgetting": seen > 0,
        }
        columns: dict[str, NDArray[Any]] = {}
        for name in self.statistics:
            if name in TRACES:
                trace = self._traces[name]
                columns[name] = (
                    np.stack(trace, axis=1) if trace else np.zeros((self.size, 0), np.float32)
                )
                continue
            count = counts.get(name, s.get(name + ".n", seen))
            total = s[name]
            if name == "forgetting":
                total = np.where(s["learned"], total, seen.max(initial=0) + 1)
            columns[name] = np.divide(total, count, out=np.full(self.size, np.nan), where=count > 0)
        return columns

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on later, exactly: numbers, names and tensors, which
        `torch.load(weights_only=True)` reads.
        """
        return {
            "size": self.size,
            "statistics": self.statistics,
            "options": dict(self.options),
            "state": {n: torch.tensor(v) for n, v in self._state.items()},
            "traces": {n: [torch.tensor(v) for v in t] for n, t in self._traces.items()},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`. Raises ValueError when size, statistics or options differ from
        this recorder's.
        """
        for name in ("size", "statistics", "options"):
            here = getattr(self, name)
            there = tuple(saved[name]) if name == "statistics" else saved[name]
            if here != there:
                raise ValueError(f"{name}: this recorder has {here} but the saved state {there}")
        self._state = {n: v.cpu().numpy().copy() for n, v in saved["state"].items()}
        self._traces = {n: [v.cpu().numpy().copy() for v in t] for n, t in saved["traces"].items()}
