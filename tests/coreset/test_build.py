"""Configurations of strangers: hundreds of them name code, none of it runs."""

import json
import sys

import pytest
import yaml

from coreset.build import build
from coreset.cli.curate import make_operators
from coreset.core.strategy import Strategy
from coreset.curation.operators.select import Select
from coreset.curation.recipe import read_recipe
from coreset.targets import configured, registered

TOUCH = "touch canary"
PY = "open('canary', 'w').close()"
# every target with the arguments with which it would leave the file `canary`, or run what does
TARGETS = [
    ("pathlib.Path.write_text", {"self": "canary", "data": "x"}),
    ("pathlib.Path.write_bytes", {"self": "canary", "data": "x"}),
    ("pathlib.Path.touch", {"self": "canary"}),
    ("pathlib.Path.mkdir", {"self": "canary"}),
    ("pathlib.Path.unlink", {"self": "witness"}),
    ("os.system", {"command": TOUCH}),
    ("os.popen", {"cmd": TOUCH}),
    ("os.mkdir", {"path": "canary"}),
    ("os.makedirs", {"name": "canary"}),
    ("os.remove", {"path": "witness"}),
    ("os.unlink", {"path": "witness"}),
    ("os.rename", {"src": "witness", "dst": "canary"}),
    ("os.symlink", {"src": "witness", "dst": "canary"}),
    ("os.putenv", {"name": "A", "value": "B"}),
    ("os.kill", {"pid": 0, "sig": 0}),
    ("os._exit", {"status": 3}),
    ("posix.system", {"command": TOUCH}),
    ("sys.exit", {}),
    ("subprocess.Popen", {"args": ["touch", "canary"]}),
    ("subprocess.run", {"args": ["touch", "canary"]}),
    ("subprocess.call", {"args": ["touch", "canary"]}),
    ("subprocess.check_call", {"args": ["touch", "canary"]}),
    ("subprocess.check_output", {"args": ["touch", "canary"]}),
    ("subprocess.getoutput", {"cmd": TOUCH}),
    ("builtins.open", {"file": "canary", "mode": "w"}),
    ("builtins.exec", {"source": PY}),
    ("builtins.eval", {"source": PY}),
    ("builtins.compile", {"source": PY, "filename": "a", "mode": "exec"}),
    ("builtins.__import__", {"name": "evil_on_import"}),
    ("builtins.setattr", {}),
    ("io.open", {"file": "canary", "mode": "w"}),
    ("io.FileIO", {"file": "canary", "mode": "w"}),
    ("code.InteractiveInterpreter.runsource", {"source": PY}),
    ("runpy.run_path", {"path_name": "evil.py"}),
    ("runpy.run_module", {"mod_name": "evil_on_import"}),
    ("importlib.import_module", {"name": "evil_on_import"}),
    ("importlib.machinery.SourceFileLoader", {"fullname": "a", "path": "evil.py"}),
    ("shutil.copy", {"src": "witness", "dst": "canary"}),
    ("shutil.copyfile", {"src": "witness", "dst": "canary"}),
    ("shutil.move", {"src": "witness", "dst": "canary"}),
    ("shutil.rmtree", {"path": "."}),
    ("shutil.make_archive", {"base_name": "canary", "format": "tar"}),
    ("shutil.unpack_archive", {"filename": "a.tar"}),
    ("pickle.loads", {"data": "x"}),
    ("pickle.load", {"file": "evil.pkl"}),
    ("_pickle.loads", {"data": "x"}),
    ("marshal.loads", {"bytes": "x"}),
    ("shelve.open", {"filename": "canary"}),
    ("dbm.open", {"file": "canary", "flag": "c"}),
    ("sqlite3.connect", {"database": "canary"}),
    ("pandas.read_pickle", {"filepath_or_buffer": "evil.pkl"}),
    ("pandas.eval", {"expr": "1"}),
    ("pandas.DataFrame.to_pickle", {"self": None, "path": "canary"}),
    ("joblib.load", {"filename": "evil.pkl"}),
    ("joblib.dump", {"value": 1, "filename": "canary"}),
    ("joblib.Memory", {"location": "canary"}),
    ("torch.load", {"f": "evil.pkl", "weights_only": False}),
    ("torch.save", {"obj": 1, "f": "canary"}),
    ("torch.hub.load", {"repo_or_dir": ".", "model": "a", "source": "local"}),
    ("torch.jit.load", {"f": "evil.pkl"}),
    ("torch.nn.Sequential", {}),
    ("numpy.load", {"file": "evil.pkl", "allow_pickle": True}),
    ("numpy.save", {"file": "canary", "arr": [1]}),
    ("numpy.savetxt", {"fname": "canary", "X": [1]}),
    ("numpy.memmap", {"filename": "canary", "mode": "w+", "shape": [1]}),
    ("numpy.lib.format.open_memmap", {"filename": "canary", "mode": "w+", "shape": [1]}),
    ("pyarrow.OSFile", {"path": "canary", "mode": "w"}),
    ("PIL.Image.open", {"fp": "witness"}),
    ("yaml.unsafe_load", {"stream": "!!python/object/apply:os.system [touch canary]"}),
    ("hydra.utils.instantiate", {"config": {"x": 1}}),
    ("hydra.utils.call", {"config": {"x": 1}}),
    ("hydra.utils.get_method", {"path": "os.system"}),
    ("omegaconf.OmegaConf.save", {"config": {}, "f": "canary"}),
    ("functools.partial", {"func": "x"}),
    ("operator.methodcaller", {"name": "x"}),
    ("timeit.timeit", {"stmt": PY}),
    ("cProfile.run", {"statement": PY}),
    ("pdb.run", {"statement": PY}),
    ("trace.Trace", {}),
    ("webbrowser.open", {"url": "x"}),
    ("urllib.request.urlretrieve", {"url": "file:witness", "filename": "canary"}),
    ("urllib.request.urlopen", {"url": "file:witness"}),
    ("socket.create_connection", {"address": ["localhost", 9]}),
    ("http.server.HTTPServer", {}),
    ("ctypes.CDLL", {"name": "x"}),
    ("zipfile.ZipFile", {"file": "canary", "mode": "w"}),
    ("tarfile.open", {"name": "canary", "mode": "w"}),
    ("gzip.open", {"filename": "canary", "mode": "w"}),
    ("tempfile.NamedTemporaryFile", {"dir": "."}),
    ("tempfile.mkdtemp", {"dir": "."}),
    ("logging.FileHandler", {"filename": "canary"}),
    ("logging.config.dictConfig", {"config": {"version": 1}}),
    ("multiprocessing.Process", {}),
    ("threading.Thread", {}),
    ("signal.alarm", {"seconds": 1}),
    ("venv.create", {"env_dir": "canary"}),
    ("ensurepip.bootstrap", {}),
    ("atexit.register", {"func": "x"}),
    ("pytorch_lightning.Trainer", {"default_root_dir": "canary"}),
    ("transformers.AutoModel.from_pretrained", {"pretrained_model_name_or_path": "x"}),
    ("sklearn.datasets.load_files", {"container_path": "."}),
    ("scipy.io.loadmat", {"file_name": "x"}),
    ("evil_on_import.Thing", {}),
    ("evil_on_import.sub.Thing", {}),
    ("antigravity.fly", {}),
    ("this.s", {}),
    # of ours, but no operator, strategy or model
    ("coreset.core.store.write_atomic", {"path": "canary", "data": "x"}),
    ("coreset.core.store.Store", {"root": "canary"}),
    ("coreset.core.store.os.system", {"command": TOUCH}),
    ("coreset.core.store.Path.write_text", {"self": "canary", "data": "x"}),
    ("coreset.runs.run_folder.RunFolder", {"path": "canary", "config": {}, "rounds": 1, "strategy": "a", "seed": 0}),
    ("coreset.curation.run.curate", {"operators": [], "source": "witness", "out": "canary"}),
    ("coreset.curation.run.locked", {"folder": "canary"}),
    ("coreset.curation.runtime.steps.read_state", {"path": "evil.pkl"}),
    ("coreset.curation.io.write.whole_file", {"path": "canary"}),
    ("coreset.curation.io.discover.save_dataset", {"dataset": "x", "folder": "canary"}),
    ("coreset.cli.select.subprocess.run", {"args": ["touch", "canary"]}),
    ("coreset.build.build", {"config": {}, "kind": "model"}),
    ("coreset.targets.importlib.import_module", {"name": "evil_on_import"}),
    ("coreset.core.selection.Selection.load", {"path": "witness"}),
    ("coreset.core.strategy.Strategy.__init__.__globals__", {}),
    ("coreset.core.pool.Pool", {"size": 3}),
    ("coreset.registry.load", {"name": "kcenter"}),
    ("coreset.trainers.data.folder.image_folder", {"root": "."}),
    ("coreset.trainers.data.hugging_face.hf_dataset", {"name": "x"}),
    ("coreset.trainers.loops.loggers.csv_logger", {"folder": "canary", "run_config": {}}),
    ("coreset.trainers.oracles.LabelFile", {"path": "canary", "ids": [], "classes": []}),
    ("coreset.trainers.app.main", {}),
    # no dotted path
    ("", {}),
    ("os", {}),
    (".os.system", {"command": TOUCH}),
    ("os..system", {"command": TOUCH}),
    ("os.system ", {"command": TOUCH}),
    ("os.system\n", {"command": TOUCH}),
    ("${oc.env:HOME}", {}),
    ("../evil.Thing", {}),
    ("os:system", {"command": TOUCH}),
    (["os.system"], {"command": TOUCH}),
    ({"a": 1}, {}),
    (7, {}),
    (None, {}),
    (b"os.system", {}),
]  # fmt: skip
TOP = {"_target_": "coreset.strategies.baseline.top_k.TopK", "signal": "words"}
BUDGETED = "coreset.curation.operators.select.Select"
PLACES = {
    "alone": lambda bad: bad,
    "as a strategy": lambda bad: {"_target_": BUDGETED, "strategy": bad},
    "deep inside": lambda bad: {
        "_target_": BUDGETED,
        "strategy": TOP,
        "columns": {"a": [1, {"b": [bad]}]},
    },
    "after a good one": lambda bad: {"_target_": BUDGETED, "strategy": TOP, "cost": bad},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("evil_on_import.py", "evil.py"):
        (tmp_path / name).write_text(
            f"{PY}\nfrom coreset import Strategy\n\n\nclass Thing(Strategy):\n    needs ="
            " frozenset()\n"
        )
    (tmp_path / "evil.pkl").write_bytes(b"cposix\nsystem\n(S'touch canary'\ntR.")
    (tmp_path / "witness").write_text("here")
    before = sorted(p.name for p in tmp_path.iterdir())
    yield tmp_path
    after = sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__")
    assert after == before, "something ran"
    assert "evil_on_import" not in sys.modules


def hostile(name, options):
    return {"_target_": name, **options}


@pytest.mark.parametrize("place", PLACES)
def test_no_target_of_a_stranger_runs(folder, place):
    assert len(TARGETS) * len(PLACES) >= 500
    for name, options in TARGETS:
        config = PLACES[place](hostile(name, options))
        with pytest.raises((ValueError, TypeError, ImportError)):
            build(config, "operator")
        with pytest.raises((ValueError, TypeError, ImportError)):
            build([{"_target_": "coreset.scorers.length.Length"}, config], "operator")
        assert not (folder / "canary").exists(), name


@pytest.mark.parametrize("kind", ["strategy", "scorer", "operator", "engine"])
def test_functions_and_strange_classes_make_nothing_of_ours_even_in_ones_own_configuration(
    folder, kind
):
    for name, options in TARGETS:
        if isinstance(name, str) and name.startswith(("evil", "antigravity", "this")):
            continue  # the user's own configuration may import his own modules
        with pytest.raises((ValueError, TypeError, ImportError)):
            build(hostile(name, options), kind, trusted=True)


@pytest.mark.parametrize("word", ["_args_", "_partial_", "_recursive_"])
def test_words_of_hydra_that_change_a_call_are_refused(folder, word):
    value = {"_args_": ["response"], "_partial_": True, "_recursive_": False}[word]
    with pytest.raises((ValueError, TypeError), match=f"{word}"):
        build({"_target_": "coreset.scorers.length.Length", word: value}, "operator")
    with pytest.raises(ValueError, match="without '_target_'"):
        build({"_target_": BUDGETED, "strategy": TOP, "columns": {word: value}}, "operator")


def test_too_deep_too_large_and_circular(folder):
    deep = "x"
    for _ in range(100):
        deep = [deep]
    wide = ["x"] * 30
    for _ in range(6):
        wide = [wide] * 30
    ring = []
    ring.append(ring)
    for value in (deep, wide, ring):
        with pytest.raises(ValueError, match="expected at most"):
            build({"_target_": BUDGETED, "strategy": TOP, "columns": {"a": value}}, "operator")


def test_a_reference_to_the_environment_stays_text(monkeypatch):
    monkeypatch.setenv("SECRET", "leak")
    built = build(
        {"_target_": "coreset.scorers.length.Length", "column": "${oc.env:SECRET}"}, "scorer"
    )
    assert built.column == "${oc.env:SECRET}"


def test_what_is_ours_and_what_is_registered_is_built():
    assert len(configured()) > 100
    assert len(registered()) > 100
    select = build({"_target_": BUDGETED, "strategy": TOP, "budget": 3}, "operator")
    assert isinstance(select, Select)
    assert select.strategy.signal == "words"
    factory = build(
        {"_target_": "coreset.trainers.tasks.models.mlp", "_partial_": True, "width": 8}, "model"
    )
    assert factory.keywords == {"width": 8}
    assert isinstance(
        build({"_target_": "coreset.registry.strategy", "name": "margin"}, "strategy"), Strategy
    )


def test_an_unknown_option_is_refused_with_the_nearest_before_anything_is_called(folder):
    with pytest.raises(TypeError, match="has no option 'strategi'; did you mean strategy"):
        build({"_target_": BUDGETED, "strategi": TOP}, "operator")


def test_ones_own_configuration_may_name_ones_own_class(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_of_test_build.py").write_text(
        "from dataclasses import dataclass\nfrom coreset import"
        " Scorer\n\n\n@dataclass(frozen=True)\nclass Ones:\n    needs = frozenset({'text'})\n   "
        " gives = frozenset({'ones'})\n\n    def __call__(self, batch):\n        return {'ones':"
        " [1.0] * len(batch['text'])}\n\n\ndef typed() -> Ones:\n    return Ones()\n\n\ndef"
        " untyped():\n    return Ones()\n"
    )
    mine = {"_target_": "mine_of_test_build.Ones"}
    assert type(build(mine, "scorer", trusted=True)).__name__ == "Ones"
    assert (
        type(build({"_target_": "mine_of_test_build.typed"}, "operator", trusted=True)).__name__
        == "Ones"
    )
    with pytest.raises(TypeError, match="has no annotation of it"):
        build({"_target_": "mine_of_test_build.untyped"}, "operator", trusted=True)
    with pytest.raises(ValueError, match="refused"):
        build(mine, "scorer")


PLAIN = {"budget": 2, "cost": None, "model": {"name": "m"}, "seed": 4, "images": None}


def test_a_recipe_given_as_data(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "leak")
    path = tmp_path / "theirs.yaml"
    steps = [
        {"_target_": "coreset.scorers.length.Length"},
        {
            "_target_": BUDGETED,
            "strategy": TOP,
            "budget": "${budget}",
            "columns": "${recipe.names}",
            "seed": "${seed}",
        },
    ]
    path.write_text(yaml.safe_dump({"names": {"words": "text_words"}, "operators": steps}))
    operators = make_operators({**PLAIN, "recipe_file": str(path)})
    assert operators[1].budget == 2
    assert operators[1].seed == 4
    assert operators[1].columns == {"words": "text_words"}


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:SECRET}",
        "a${oc.env:SECRET}b",
        "${oc.decode:${oc.env:SECRET}}",
        "${oc.select:recipe}",
        "${oc.create:{a: 1}}",
        "${hydra:runtime.cwd}",
        "${run_dir:a,canary}",
        "${recipe.operators}",
        "${recipe.gone}",
        "${recipe.loop}",
        "${out}",
        "${..budget}",
        "${budget",
        "${budget} rows",
    ],
)
def test_references_of_a_stranger_are_refused(folder, tmp_path, monkeypatch, value):
    monkeypatch.setenv("SECRET", "leak")
    path = tmp_path / "witness"
    path.write_text(
        json.dumps(
            {
                "loop": "${recipe.loop}",
                "operators": [{"_target_": "coreset.scorers.length.Length", "column": value}],
            }
        )
    )
    with pytest.raises(ValueError, match="recipe: ") as caught:
        read_recipe(path, PLAIN)
    assert "leak" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch canary']",
        "operators: !!python/object/apply:os.system ['touch canary']",
        "operators: [!!python/name:os.system '']",
        "defaults: [evil]\noperators: []",
        "hydra: {job_logging: {}}\noperators: []",
        "operators: {a: 1}",
        "operators: 7",
        "- 1",
        "",
        "\0",
        "operators: [",
        "a: &a [*a]\noperators: [*a]",
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c"
            " [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e"
            " [*d,*d,*d,*d,*d,*d,*d,*d]\noperators: [*e,*e,*e,*e,*e,*e]"
        ),
        "operators: " + "[" * 3000,
        "x" * 2**20 + ": 1\noperators: []",
    ],
)
def test_files_that_are_no_recipe(folder, text):
    (folder / "witness").write_text(text)
    with pytest.raises(ValueError, match="recipe: "):
        read_recipe(folder / "witness", PLAIN)


def test_a_hostile_recipe_file_runs_nothing(folder):
    for name, options in TARGETS:
        if not isinstance(name, str):
            continue
        (folder / "witness").write_text(json.dumps({"operators": [hostile(name, options)]}))
        with pytest.raises((ValueError, TypeError, ImportError)):
            make_operators({**PLAIN, "recipe_file": str(folder / "witness")})


def test_options_of_an_operator_inside_data_juicer_are_data(folder):
    from coreset.build import build_options

    for name, options in TARGETS:
        with pytest.raises((ValueError, TypeError, ImportError)):
            build_options({"strategy": hostile(name, options)}, "options")
    assert isinstance(build_options({"strategy": TOP}, "options")["strategy"], Strategy)


JUDGE = {"_target_": "coreset.scorers.judge.scorer.Judge", "model": "m"}
STUDIO = {"_target_": "coreset.trainers.oracles.label_studio.LabelStudio", "_partial_": True}


def _built(config):
    from coreset.trainers.oracles.label_studio import LabelStudio

    return build(config, "scorer" if config["_target_"] == JUDGE["_target_"] else LabelStudio)


@pytest.mark.parametrize(
    ("config", "option", "own"),
    [(JUDGE, "key_variable", "OPENAI_API_KEY"), (STUDIO, "token", "LABEL_STUDIO_API_KEY")],
)
def test_no_key_goes_to_a_server_that_somebody_else_names(monkeypatch, config, option, own):
    """A recipe or a run folder that names a server and a variable would have its secret sent there."""
    monkeypatch.setenv("A_SECRET", "s")
    monkeypatch.delenv(own, raising=False)
    for url in ("http://theirs.example/v1", "http://localhost:8080"):
        with pytest.raises(ValueError, match=f"{option}='A_SECRET' is refused"):
            _built({**config, "url": url, option: "A_SECRET"})
    _built({**config, "url": "http://theirs.example/v1"})  # no key is there to be sent
    monkeypatch.setenv(own, "s")
    for url in ("http://theirs.example/v1", "http://localhost.theirs.example", "http://localhost@theirs.example",
                "//theirs.example", "theirs", None, 3, "http://[bad"):  # fmt: skip
        with pytest.raises(ValueError, match=f"url=.* is refused: your key in {own} would be sent"):
            _built({**config, "url": url})
    for url in ("http://localhost:8080", "http://127.0.0.1:9/v1", "http://[::1]:80"):
        _built({**config, "url": url, option: own})
