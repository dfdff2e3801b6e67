"""The site: reference of every name, files as a run leaves them, navigation, links, picture."""

import importlib.util
import re
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from coreset.core.catalog import COLUMNS
from coreset.curation import curate
from coreset.registry import IMAGES, names, operator

ROOT = Path(__file__).parent.parent.parent


@cache
def script(name):
    """Return a script as a module, with sys.path as it was."""
    spec = importlib.util.spec_from_file_location(f"site_{name[:-3]}", ROOT / "scripts" / name)
    module, before = importlib.util.module_from_spec(spec), list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def reference():
    module = script("reference.py")
    return module, {name: page() for name, page in module.PARTS.items()}


def first_cells(page):
    return set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "groups"),
    [
        ("strategies", ["coreset.strategies"]),
        ("scorers", ["coreset.scorers", IMAGES]),
        ("operators", ["coreset.operators"]),
    ],
)
def test_every_registered_name_has_a_row(reference, page, groups):
    assert {n for g in groups for n in names(g)} <= first_cells(reference[1][page])


@pytest.mark.slow
def test_every_recipe_and_column_is_there(reference):
    pages = reference[1]
    recipes = {p.stem for p in (ROOT / "conf" / "recipe").glob("*.yaml")}
    assert recipes == set(re.findall(r"^## (\w+)$", pages["recipes"], re.MULTILINE))
    assert set(COLUMNS) <= first_cells(pages["columns"])


@pytest.mark.slow
def test_a_columns_row_names_who_gives_and_who_reads_it(reference):
    rows = {r.split("`")[1]: r for r in reference[1]["columns"].splitlines() if r[:3] == "| `"}
    assert "`margin`" in rows["probs"].split("|")[-2]
    assert rows["text_words"].split("|")[2].strip() == "`length`"
    assert "`gopher_quality_filter`" in rows["gopher_words"].split("|")[3]


@pytest.mark.slow
def test_every_part_of_a_built_in_recipe_is_a_registered_name(reference):
    module = reference[0]
    for path in (ROOT / "conf" / "recipe").glob("*.yaml"):
        for name in module.recipe_parts(path):
            known = name in names("coreset.operators") + names("coreset.scorers") + names(IMAGES)
            assert known or name[0].isupper(), f"{path.name}: {name}"


def test_the_files_of_a_curation_are_those_the_page_lists(tmp_path):
    module = script("reference.py")
    (tmp_path / "rows.jsonl").write_text('{"text": "a b"}\n{"text": "a b"}\nno json\n')
    curate(
        [operator("length"), operator("exact_duplicates")],
        tmp_path / "rows.jsonl",
        tmp_path / "out",
    )
    there = {p.name + "/" * p.is_dir() for p in (tmp_path / "out").iterdir()}
    assert there - {".lock"} <= set(module.CURATION), there
    columns = pq.read_schema(tmp_path / "out" / "decisions.parquet").names
    listed = {n for names in module.DECISIONS for n in names.split(", ")}
    assert set(columns) - {"text_words", "text_words_status"} <= listed, columns


def test_the_files_of_a_training_run_are_those_the_page_lists():
    module = script("reference.py")
    patterns = [n for names in module.TRAINING for n in names.split(", ")]
    code = "".join(
        p.read_text() for d in ("trainers", "coreset/runs") for p in (ROOT / d).rglob("*.py")
    )
    for name in re.findall(r'folder(?:\.path)? / "([\w.]+\.\w+)"', code):
        assert any(fnmatch(name, p.split("/")[-1]) for p in patterns), name


def test_navigation_takes_in_any_page_and_no_page_twice():
    navigation = script("site_navigation.py").navigation
    pages = ["zebra.md", "index.md", "how-to/b.md", "tutorials/text.md", "tutorials/arrays.md"]
    nav = navigation([*pages, "more/x.md"])
    assert nav[0] == "index.md"
    assert nav[1] == {"Tutorials": ["tutorials/arrays.md", "tutorials/text.md"]}
    flat = [p for n in nav for p in (next(iter(n.values())) if isinstance(n, dict) else [n])]
    assert sorted(flat) == sorted([*pages, "more/x.md"])


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<a href="other.html#nothing">x</a>', "no such anchor"),
        ('<script src="https://cdn.example/x.js"></script>', "from another host"),
        ('<a href="other.html#there">x</a><a href="https://example.org">y</a>', None),
    ],
)
def test_the_link_check_sees_what_is_broken(tmp_path, html, problem):
    (tmp_path / "index.html").write_text(html)
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    problems = script("check_site.py").problems(tmp_path)
    assert (not problems) if problem is None else (len(problems) == 1 and problem in problems[0])


def test_the_picture_of_the_rooms_is_that_of_the_imports():
    module = script("rooms.py")
    pairs = module.arrows()
    assert module.PICTURE.read_text() == module.picture(pairs, module.rooms())
    level = {room: i for i, floor in enumerate(module.FLOORS) for room in floor}
    assert all(level[a] < level[b] for a, b in pairs)
    assert "#c62828" in module.picture({("core", "cli"): 1}, {"core", "cli"})


def test_every_room_is_in_the_picture():
    folders = {p.parent.name for p in (ROOT / "coreset").glob("*/__init__.py")}
    module = script("rooms.py")
    assert folders <= {room for floor in module.FLOORS for room in floor}
