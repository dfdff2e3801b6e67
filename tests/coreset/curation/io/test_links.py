"""Links to folders above: a pattern that goes into folders must come to an end."""

import pytest

from coreset.curation.io.discover import discover


def test_links_in_circles_are_an_error_in_words(tmp_path, monkeypatch):
    (tmp_path / "in" / "x").mkdir(parents=True)
    (tmp_path / "in" / "x" / "a.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.chdir(tmp_path)
    for pattern in ("in/**/*.jsonl", f"{tmp_path}/**/*.jsonl", "**/*.jsonl", "i*/**/a.jsonl"):
        assert [s.path.name for s in discover(pattern)] == ["a.jsonl"]
    for name in ("l1", "l2"):
        (tmp_path / "in" / "x" / name).symlink_to(tmp_path / "in", target_is_directory=True)
    for pattern in ("in/**/*.jsonl", f"{tmp_path}/**/*.jsonl", "**/*.jsonl", "i*/**/a.jsonl"):
        with pytest.raises(ValueError, match="are one folder, by a link"):
            discover(pattern)
    assert [s.path.name for s in discover("in")] == ["a.jsonl"]
