"""coreset-train and coreset-compare as a user types them, in processes of their own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.pages import without_scripts

QUICK = [
    "fit.steps=6",
    "full.steps=6",
    "proxy.epochs=1",
    "members=3",
    "threads=1",
    "trainer.accelerator=cpu",
    "store=store",
]


def train(folder: Path, *arguments: str, **more: Any) -> tuple[int, str]:
    """Return the exit status and what went to standard error."""
    ran = processes.command("coreset-train", *arguments, cwd=folder, **more)
    (folder / "stdout.txt").write_text(ran.stdout)
    return ran.returncode, ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["budget=0"], "from 1 to 1297"),
        (["budget=-0.1"], r"share of the pool in \(0, 1\], got -0.1"),
        (["budget=5000"], "from 1 to 1297"),
        (["budget=nan"], "got nan"),
        (["budget=2.0"], "written without a point: 2"),
        (["budget=[0.2,0.1]"], "must grow"),
        (["budget=x"], "got 'x'"),
        (["mode=activ"], "prune or active"),
        (["mode=active", "start=0.9"], "start"),
        (
            ["mode=active", "strategy=stratified"],
            "Stratified needs labels of the candidates, which active mode cannot know",
        ),
        (["mode=active", "strategy=top_k"], "TopK needs el2n of the candidates"),
        (
            ["strategy=top_k", "strategy.signal=blur"],
            "TopK needs blur, which nothing in this run gives",
        ),
        (["columns={blur: nowhere.npy}"], "nowhere.npy"),
        (["fit.steps=0"], "fit.steps"),
        (["fit.epochs=2", "fit.steps=3"], "either steps or epochs"),
        (["baseline=[best]"], "random or full"),
        (["+lr=3"], "unknown setting .lr.; did you mean fit.lr"),
        (["proxy.steps=3"], "proxy.steps: give either"),
        (["fit.optimizer=adam"], "fit.optimizer: expected adamw"),
        (["strategy=bald", "model=linear", "budget=20"], "no dropout"),
    ],
)
def test_wrong_input_is_one_clear_line(tmp_path, arguments, words):
    status, err = train(tmp_path, *QUICK, *arguments)
    assert status == 1
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert re.search(words, lines[0])
    assert "Traceback" not in err


@pytest.mark.slow
def test_mistyped_choices_and_keys_name_the_alternatives(tmp_path):
    status, err = train(tmp_path, "strategy=kcentre")
    assert status == 1
    assert "kcenter" in err
    status, err = train(tmp_path, "strategy.normalise=true")
    assert status == 1
    assert "strategy.normalise" in err


@pytest.mark.slow
def test_help_and_configuration_are_shown(tmp_path):
    assert train(tmp_path, "--help")[0] == 0
    text = (tmp_path / "stdout.txt").read_text()
    assert "strategy:" in text
    assert "kcenter" in text
    assert "resume=" in text
    assert train(tmp_path, "--cfg", "job", "--resolve")[0] == 0
    assert (
        "coreset.strategies.submodular.subzerocore.SubZeroCore"
        in (tmp_path / "stdout.txt").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "strategy", "start"),
    [
        (["embedding=pixels"], "auto", "MaxHerding"),
        (["embedding=pixels", "start_strategy=random"], "auto", None),
        ([], "auto", None),  # features of a model that is not trained yet
        (["embedding=pixels", "strategy=margin"], "margin", None),
    ],
)
def test_active_mode_chooses_by_auto_unless_told_otherwise(tmp_path, arguments, strategy, start):
    own = ["mode=active", "start=10", "budget=[10,20]", "baseline=[]", "report=false"]
    status, err = train(tmp_path, *QUICK, *own, *arguments, "hydra.run.dir=run")
    assert status == 0, err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["strategy"]["_target_"].rsplit(".", 1)[-1].lower() == strategy
    ledger = [json.loads(x) for x in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    first, second = (line["info"] for line in ledger)
    assert first.get("start_strategy") == start
    assert second["strategy"].lower() == strategy
    assert strategy != "auto" or second["variant"] == "UHerding"


@pytest.mark.slow
def test_multirun_shares_its_baselines_and_compares(tmp_path, capsys):
    status, err = train(
        tmp_path,
        "-m",
        "strategy=random,kcenter",
        "seed=0,1",
        "budget=[20,40]",
        *QUICK,
        "hydra.sweep.dir=many",
    )
    assert status == 0, err
    runs = sorted(p.parent.name for p in (tmp_path / "many").glob("*/state.json"))
    assert runs == ["0_random_seed0", "1_random_seed1", "2_kcenter_seed0", "3_kcenter_seed1"]
    of_random = (tmp_path / "many" / "0_random_seed0" / "curve.jsonl").read_bytes()
    beside = tmp_path / "many" / "2_kcenter_seed0" / "baseline"
    assert (beside / "random" / "curve.jsonl").read_bytes() == of_random
    assert not (beside / "random" / "rounds").exists()  # taken from the store, not trained again
    full = [json.loads(line) for line in (beside / "full" / "curve.jsonl").read_text().splitlines()]
    assert [p["share"] for p in full] == [1.0]
    ledger = json.loads((beside / "full" / "ledger.jsonl").read_text())
    assert ledger["training"]["steps"] == 6  # what `full` says
    assert ledger["training"]["on_slope"]

    from coreset.trainers.app import compare_main

    assert compare_main([str(tmp_path / "many"), "--out", str(tmp_path / "report")]) == 0
    assert "kcenter" in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text()
    without_scripts(page)
    assert (
        "Stopped on a slope: kcenter at 20, 40 labels; random at 20, 40 labels; all labels." in page
    )
    assert "http://" not in page.replace("http://www.w3.org", "")
    (tmp_path / "empty").mkdir()
    assert compare_main([str(tmp_path / "empty")]) == 1


@pytest.mark.slow
def test_a_failed_job_does_not_poison_the_next(tmp_path):
    status, err = train(
        tmp_path,
        "-m",
        "strategy=kcenter,random",
        "budget=20",
        "columns={x: nowhere.npy},null",
        *QUICK,
        "baseline=[]",
        "hydra.sweep.dir=many",
    )
    assert status == 1
    assert "nowhere.npy" in err
    assert [
        json.loads(p.read_text())["finished"] for p in (tmp_path / "many").glob("*/state.json")
    ] == [True, True]


@pytest.mark.slow
def test_a_sweep_over_a_parameter_names_its_curves(tmp_path):
    status, err = train(
        tmp_path,
        "-m",
        "strategy=herding",
        "strategy.variant=icarl,inner_product",
        "budget=20",
        *QUICK,
        "baseline=[]",
        "hydra.sweep.dir=many",
    )
    assert status == 0, err
    names = {
        json.loads(p.read_text())["strategy_name"]
        for p in (tmp_path / "many").glob("*/config.json")
    }
    assert names == {"herding", "herding(variant=inner_product)"}


@pytest.mark.slow
def test_disk_full_is_said_and_nothing_is_lost(tmp_path):
    arguments = [
        "mode=active",
        "strategy=margin",
        "start=12",
        "budget=[20,30]",
        *QUICK,
        "baseline=[]",
        "logger=none",
        "hydra.run.dir=run",
    ]
    status, err = train(tmp_path, *arguments, largest=20_000)  # a model checkpoint is larger
    assert status == 1
    assert "error:" in err
    assert json.loads((tmp_path / "run" / "state.json").read_text())["rounds_done"] == 0
    assert train(tmp_path, "resume=run", "store=store")[0] == 0
    assert not (tmp_path / "run" / "baseline").exists()  # as the run was told
    assert not list((tmp_path / "run").glob("metrics*"))
    assert json.loads((tmp_path / "run" / "state.json").read_text())["finished"]


@pytest.mark.slow
def test_labels_by_hand_stop_the_run_and_resume_goes_on(tmp_path):
    from coreset.trainers.data.sources import digits

    labels, file = digits().labels, tmp_path / "run" / "labels.csv"
    arguments = [
        "mode=active",
        "strategy=margin",
        "oracle=file",
        "start=12",
        "budget=[20]",
        *QUICK,
        "hydra.run.dir=run",
    ]
    status, err = train(tmp_path, *arguments)
    for _ in range(2):
        assert status == 0
        assert "waiting" in err
        lines = file.read_text().splitlines()
        file.write_text(
            "\n".join(
                [lines[0]]
                + [
                    f"{line.rsplit(',', 1)[0]},{labels[int(line.split(',')[0])]}"
                    for line in lines[1:]
                ]
            )
            + "\n"
        )
        status, err = train(tmp_path, "resume=run", "store=store")
    assert "report" in err
    assert json.loads((tmp_path / "run" / "state.json").read_text())["finished"]


@pytest.mark.slow
def test_wandb_offline(tmp_path):
    arguments = [
        "mode=active",
        "strategy=margin",
        "start=12",
        "budget=[20,30]",
        *QUICK,
        "logger=wandb",
        "hydra.run.dir=run",
        "baseline=[]",
    ]
    status, err = train(
        tmp_path, *arguments, environment={"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    )
    assert status == 0, err
    assert list((tmp_path / "run").rglob("*.wandb"))


@pytest.mark.slow
def test_resume_of_another_configuration_is_refused(tmp_path):
    assert (
        train(tmp_path, "strategy=margin", "budget=20", *QUICK, "baseline=[]", "hydra.run.dir=run")[
            0
        ]
        == 0
    )
    assert train(tmp_path, "resume=run", "store=store")[0] == 0
    assert not (tmp_path / "run" / "baseline").exists()
    before = (tmp_path / "run" / "curve.jsonl").read_bytes()
    status, err = train(tmp_path, "resume=run", "store=store", "strategy=entropy")
    assert status == 1
    assert "strategy._target_" in err
    assert "Margin" in err
    assert (tmp_path / "run" / "curve.jsonl").read_bytes() == before
    status, err = train(tmp_path, "resume=nowhere")
    assert status == 1
    assert "nowhere is no run folder" in err


@pytest.mark.slow
def test_two_commands_on_one_folder_are_refused(tmp_path):
    from coreset.core.locks import hold

    def files():
        return {p: p.read_bytes() for p in sorted(run.rglob("*.json*"))}

    run = tmp_path / "run"
    arguments = [
        "strategy=margin",
        "budget=20",
        *QUICK,
        "baseline=[]",
        "logger=none",
        "hydra.run.dir=run",
    ]
    for again in (arguments, ["resume=run", "store=store"]):
        held, before = hold(run), files()  # what another command does as long as it runs
        status, err = train(tmp_path, *again)
        assert status == 1
        assert re.search(r"^error: another process works in \S+run;", err, re.MULTILINE)
        assert files() == before
        held.release()
        assert train(tmp_path, *again)[0] == 0
        assert json.loads((run / "state.json").read_text())["finished"]


@pytest.mark.slow
def test_a_strategy_by_the_name_of_its_entry_point(tmp_path):
    status, err = train(
        tmp_path,
        "strategy=by_name",
        "strategy.name=margin",
        "budget=20",
        *QUICK,
        "baseline=[]",
        "hydra.run.dir=run",
    )
    assert status == 0, err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["strategy_name"] == "margin"


@pytest.mark.slow
def test_dynamics_need_enough_epochs(tmp_path):
    status, err = train(tmp_path, "strategy=dyn_unc", "budget=20", *QUICK)
    assert status == 1
    assert "proxy.epochs=11" in err
    status, err = train(
        tmp_path, "strategy=dyn_unc", "budget=20", *QUICK, "proxy.epochs=11", "baseline=[]"
    )
    assert status == 0, err
