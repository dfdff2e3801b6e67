import pytest

from coreset.report.load import find_runs, read_run, read_runs

VALUES = {10: 0.5, 20: 0.6, 40: 0.8}


def test_finds_every_run_at_any_depth_baselines_too_each_once(tmp_path, write_run):
    a = write_run("sweep/0", "margin", 0, VALUES)
    b = write_run("sweep/0/baseline/random", "random", 0, VALUES)
    c = write_run("sweep/deep/er/1", "kcenter", 0, VALUES, as_json=True)
    write_run("sweep/0/rounds/0000", "no", 0, VALUES)  # what lies in rounds/ is no run
    (tmp_path / "sweep/.hydra").mkdir()
    (tmp_path / "sweep/.hydra/config.yaml").write_text("seed: 0")
    assert find_runs([tmp_path, tmp_path / "sweep"]) == sorted([a, b, c])
    assert [r.strategy for r in read_runs(tmp_path)] == ["margin", "random", "kcenter"]
    assert [r.baseline for r in read_runs(tmp_path)] == [False, True, False]


def test_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="no run below it"):
        find_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_runs([tmp_path / "nowhere"])


@pytest.mark.parametrize("file", ["ledger.jsonl", "curve.jsonl"])
def test_a_broken_line_is_named_with_file_and_number(write_run, file):
    path = write_run("r", "margin", 0, VALUES)
    lines = (path / file).read_text().splitlines()
    lines[1] = lines[1][:20]
    (path / file).write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"{file}, line 2"):
        read_run(path)


@pytest.mark.parametrize(
    ("file", "content"), [("config.yaml", "a: [1"), ("config.yaml", "seed: 3"), ("state.json", "{")]
)
def test_other_broken_files_are_named(write_run, file, content):
    path = write_run("r", "margin", 0, VALUES)
    (path / file).write_text(content)
    with pytest.raises(ValueError, match=file):
        read_run(path)


def test_a_broken_gallery_is_named_when_asked_for(write_run):
    path = write_run("r", "margin", 0, VALUES)
    (path / "gallery.npz").write_bytes(b"nonsense")
    run = read_run(path)
    with pytest.raises(ValueError, match=r"gallery\.npz"):
        _ = run.gallery


def test_an_unfinished_run_is_read_with_what_it_has(write_run):
    path = write_run("r", "margin", 3, {10: 0.5}, finished=False)
    run = read_run(path)
    assert (run.seed, run.finished, len(run.rounds), run.gallery) == (3, False, 1, None)
    (path / "ledger.jsonl").unlink()
    (path / "curve.jsonl").unlink()
    bare = read_run(path)
    assert (bare.rounds, bare.curves, bare.chosen.tolist(), bare.class_counts) == ([], [], [], None)
    assert bare.seconds("train") is None


def test_final_set_is_the_last_round_when_pruning_and_all_rounds_when_active(write_run):
    prune = read_run(write_run("p", "margin", 0, VALUES, mode="prune"))
    active = read_run(write_run("a", "margin", 0, VALUES, mode="active"))
    assert prune.chosen.tolist() == active.chosen.tolist()
    assert len(prune.chosen) == 40
    assert prune.class_counts.tolist() == active.class_counts.tolist()
    assert prune.class_counts.sum() == 40
    assert active.seconds("select") == pytest.approx(1.5)


def test_a_round_written_twice_counts_once(write_run):
    path = write_run("r", "margin", 0, VALUES)
    ledger = path / "ledger.jsonl"
    ledger.write_text(ledger.read_text() + ledger.read_text().splitlines()[-1] + "\n")
    assert len(read_run(path).rounds) == 3


def test_auto_name_is_settled_by_the_curve(write_run):
    assert (
        read_run(write_run("r", "margin", 0, VALUES, config={"strategy_name": "auto"})).strategy
        == "margin"
    )
