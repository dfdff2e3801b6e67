"""The loops on real digits, few steps; resume after SIGKILL is in test_resume.py."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from coreset import Selection
from coreset.cli.explore import make_table
from coreset.core.store import Store
from coreset.registry import strategy as by_name
from coreset.runs.run_folder import RunFolder
from coreset.trainers.data.sources import digits
from coreset.trainers.learners.fit import Fitter, TrainingConfig
from coreset.trainers.loops.context import PROXY
from coreset.trainers.loops.gallery import write_gallery
from coreset.trainers.loops.in_memory import assemble, context_of
from coreset.trainers.loops.plan import make_plan
from coreset.trainers.loops.pool_rows import AXES, write_pool
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import AwaitingLabels, HiddenLabels, LabelFile
from coreset.trainers.tasks.features import ModelFeatures
from coreset.trainers.tasks.models import small_cnn

DATA = digits()
QUICK = TrainingConfig(steps=6)
SETTINGS = {
    "features": None, "ids": None, "images": None, "state": None, "columns": None, "projection": "pca", "neighbors": 3,
}  # fmt: skip


def job(
    tmp_path,
    name,
    mode="active",
    budget=(30, 60),
    options=None,
    oracle=None,
    seed=0,
    recipe=QUICK,
    columns=None,
    folder="run",
):
    strategy = by_name(name, options)
    columns = columns or {}
    plan = make_plan(
        strategy,
        list(budget),
        len(DATA.images),
        mode,
        15,
        columns,
        ("el2n", "forgetting", "gradient_norm"),
    )
    store, fitter = Store(tmp_path / "store"), Fitter(DATA, small_cnn, {"accelerator": "cpu"})
    proxy = TrainingConfig(steps=None, epochs=1)
    project = assemble(strategy, fitter, recipe, proxy, ModelFeatures(), store, 3)
    record = RunFolder(tmp_path / folder, {"n": name}, plan.rounds, name, seed)
    oracle = oracle or HiddenLabels(DATA.labels)
    return context_of(project, plan, oracle, store, record, seed, members=3, columns=columns)


def ledger(j):
    return [json.loads(line) for line in (j.folder.path / "ledger.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["random", "margin", "bald", "kcenter"])
def test_active_labels_exactly_the_budget(tmp_path, name):
    j = job(tmp_path, name)
    run(j)
    entries = ledger(j)
    assert [e["labels"] for e in entries] == [15, 30, 60]
    rows = [i for e in entries for i in e["indices"]]
    assert len(rows) == len(set(rows)) == 60
    for e in entries:
        assert e["ids"] == DATA.ids[e["indices"]].tolist()
        assert e["class_histogram"] == np.bincount(DATA.labels[e["indices"]], minlength=10).tolist()
    assert [p.labels for p in j.folder.curve.points] == [15, 30, 60]


def test_the_start_set_is_the_same_for_every_strategy_at_a_seed(tmp_path):
    jobs = [
        job(tmp_path, n, folder=n, seed=s)
        for n, s in (("random", 3), ("margin", 3), ("entropy", 4))
    ]
    for j in jobs:
        run(j)
    a, b, c = (ledger(j)[0] for j in jobs)
    assert a["indices"] == b["indices"]
    assert a["accuracy"] == b["accuracy"]  # same set, same training stream
    assert c["indices"] != a["indices"]


def test_certificates_of_columns_at_hand_stand_in_the_ledger_and_in_the_file(tmp_path):
    runs = {}
    for name, mode in (("kcenter", "active"), ("margin", "active"), ("craig", "prune")):
        j = job(tmp_path, name, mode, folder=name)
        run(j)
        runs[name] = ledger(j)
        saved = Selection.load(j.folder.round(1) / "selection.parquet").info
        assert saved.get("certificates") == runs[name][1]["info"].get("certificates")
    first, *later = runs["kcenter"]  # nothing is measured before the random start
    assert "certificates" not in first["info"]
    for entry in later:
        certificates = entry["info"]["certificates"]
        assert set(certificates) == {"cover_radius", "facility_value", "kernel_discrepancy"}
        assert certificates["cover_radius"] == pytest.approx(entry["info"]["cover_radius"])
    assert all("certificates" not in entry["info"] for entry in runs["margin"])
    for entry in runs["craig"]:
        certificates = entry["info"]["certificates"]
        assert certificates["matching_error"] == pytest.approx(entry["info"]["matching_error"])
        shares = np.bincount(DATA.labels[entry["indices"]], minlength=10) / entry["labels"]
        assert certificates["class_shares"] == pytest.approx(
            {str(c): s for c, s in enumerate(shares) if s}
        )


def test_ledger_and_curve_are_strict_json(tmp_path, monkeypatch):
    def no_constant(name):
        raise AssertionError(f"{name} is no JSON")

    bad = {"cover_radius": float("inf"), "class_shares": {"3": float("nan")}}
    monkeypatch.setattr("coreset.trainers.loops.select.certificates", lambda *a: bad)
    j = job(tmp_path, "kcenter", "prune", budget=(10, 20))
    run(j)
    for name in ("ledger.jsonl", "curve.jsonl"):
        lines = (j.folder.path / name).read_text().splitlines()
        rows = [json.loads(line, parse_constant=no_constant) for line in lines]
        assert len(rows) == 2
    entry = ledger(j)[0]
    assert entry["info"]["certificates"] == {"cover_radius": None, "class_shares": {"3": None}}
    training = entry["training"]
    assert training["steps"] == 6
    assert training["passes"] == 6
    assert training["gain"] == pytest.approx(entry["accuracy"] - training["half"])
    assert training["on_slope"] == (training["gain"] > 0.02)
    marks = [point.extra.get("on_slope", False) for point in j.folder.points]
    assert marks == [e["training"]["on_slope"] for e in ledger(j)]


def test_prune_budgets_of_a_greedy_strategy_are_prefixes(tmp_path):
    j = job(tmp_path, "kcenter", "prune", (20, 50))
    run(j)
    small, large = ledger(j)
    assert large["indices"][:20] == small["indices"]
    assert len(list((tmp_path / "store").glob("features-*.npy"))) == 1
    write_gallery(j)
    with np.load(j.folder.path / "gallery.npz") as g:
        assert g["thumbs"].shape == (50, 8, 8, 1)
        assert g["thumb_round"].tolist() == [0] * 20 + [1] * 30
        assert g["chosen_counts"].sum() == 50


def test_every_row_of_a_run_can_be_explored(tmp_path):
    """Pictures, labels, places and neighbors of the whole pool, by the last model's features."""
    j = job(tmp_path, "margin", "active", (20, 30))
    run(j)
    write_pool(j)
    named = {"strategy_name": "margin", "seed": 0, "mode": "active"}  # as a command writes it
    (j.folder.path / "config.json").write_text(json.dumps(named))
    table, how = make_table({**SETTINGS, "run": str(j.folder.path)})
    assert how == "pca of vectors"
    assert table.num_rows == len(DATA.images)
    x = j.learner.signals(np.arange(len(DATA.images)), ["features"])["features"].astype(np.float64)
    probs = j.learner.signals(np.arange(len(DATA.images)), ["probs"])["probs"]
    order = [i for e in ledger(j) for i in e["indices"]]
    x = x - x.mean(axis=0)
    x = x @ np.linalg.svd(x, full_matrices=False)[2][:AXES].T
    far = np.linalg.norm(x - x[7], axis=1)
    far[7] = np.inf
    near = table["neighbors"][7].as_py()
    np.testing.assert_allclose(near["distances"], np.sort(far)[:3], rtol=1e-3)
    for i, row in enumerate(table.select(["label", "thumbnail", "rank", "predicted"]).to_pylist()):
        shown = np.asarray(Image.open(BytesIO(row["thumbnail"]["bytes"])))
        np.testing.assert_array_equal(shown, DATA.images[i][..., 0])
        assert row["label"] == DATA.classes[DATA.labels[i]]
        assert row["rank"] == (order.index(i) if i in order else None)
        assert row["predicted"] == DATA.classes[probs[i].argmax()]
    before = (j.folder.path / "rows.parquet").read_bytes()
    (j.folder.path / "rows.parquet").unlink()
    write_pool(j)
    assert (j.folder.path / "rows.parquet").read_bytes() == before


def test_training_dynamics_rank_the_pool(tmp_path):
    j = job(tmp_path, "top_k", "prune", (25,), {"signal": "el2n"})
    run(j)
    column = np.load(next((tmp_path / "store").glob("el2n-*.npy")))
    assert set(ledger(j)[0]["indices"]) == set(np.argsort(-column, kind="stable")[:25].tolist())


def test_full_gradients_are_averaged_over_proxies(tmp_path):
    """One training a member, each from another initialization; a row's norms by plain autograd."""
    j = job(tmp_path, "grand", "prune", (25,), {"gradient": "full"})
    run(j)
    column = np.load(next((tmp_path / "store").glob("gradient_norm-*.npy")))
    assert ledger(j)[0]["indices"] == np.argsort(-column, kind="stable")[:25].tolist()
    norms, rows = [], np.arange(0, len(DATA.images), 97)
    for seed in ((0, PROXY), (0, PROXY, 1), (0, PROXY, 2)):
        model = j.proxy.fitter.fit(
            j.proxy.config, DATA.labels, np.arange(len(DATA.images)), seed=seed, test=False
        ).model.eval()
        norms.append([])
        for i in rows:
            x = torch.tensor(DATA.images[i].transpose(2, 0, 1)[None] / 255.0)
            x = (
                (x - torch.tensor(DATA.mean).view(-1, 1, 1)) / torch.tensor(DATA.std).view(-1, 1, 1)
            ).float()
            model.zero_grad()
            torch.nn.functional.cross_entropy(
                model(x), torch.tensor(DATA.labels[i : i + 1])
            ).backward()
            norms[-1].append(
                np.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in model.parameters()))
            )
    assert np.abs(np.array(norms[0]) - norms[1]).max() > 1e-2  # three models, not one three times
    np.testing.assert_allclose(column[rows], np.mean(norms, axis=0), rtol=1e-4)


def test_full_gradients_need_labels(tmp_path):
    with pytest.raises(
        ValueError,
        match="Grand needs gradient_norm of the candidates, which active mode cannot know",
    ):
        job(tmp_path, "grand", "active", (30,), {"gradient": "full"})


def test_your_own_column(tmp_path):
    blur = np.random.default_rng(0).random(len(DATA.images))
    j = job(tmp_path, "top_k", "active", (30,), {"signal": "blur"}, columns={"blur": blur})
    run(j)
    start, batch = (e["indices"] for e in ledger(j))
    left = np.setdiff1d(np.arange(len(blur)), start)
    assert batch == left[np.argsort(-blur[left], kind="stable")][:15].tolist()


def test_warm_start_goes_on_from_the_last_round(tmp_path):
    cold, warm = (
        job(tmp_path, "random", folder="cold"),
        job(tmp_path, "random", folder="warm", recipe=TrainingConfig(steps=6, warm_start=True)),
    )
    run(cold)
    run(warm)
    assert cold.folder.points[0] == warm.folder.points[0]
    assert cold.folder.points[-1].value != warm.folder.points[-1].value


def test_labels_by_hand(tmp_path):
    def oracle():
        return LabelFile(tmp_path / "labels.csv", DATA.ids, DATA.classes)

    def fill():
        lines = (tmp_path / "labels.csv").read_text().splitlines()
        out = [lines[0]] + [
            f"{line.rsplit(',', 1)[0]},{DATA.labels[int(line.split(',')[0])]}" for line in lines[1:]
        ]
        (tmp_path / "labels.csv").write_text("\n".join(out) + "\n")

    stops = 0
    while True:
        try:
            j = job(tmp_path, "margin", oracle=oracle())
            run(j)
            break
        except AwaitingLabels:
            stops += 1
            fill()
    assert stops == 3
    k = job(tmp_path, "margin", folder="simulated")
    run(k)
    assert [p.value for p in j.folder.points] == [p.value for p in k.folder.points]


def test_unknown_labels_are_refused(tmp_path):
    hidden = DATA.labels.copy()
    hidden[7] = -1
    with pytest.raises(ValueError, match="position 7"):
        run(job(tmp_path, "kcenter", "prune", (20,), oracle=HiddenLabels(hidden)))
