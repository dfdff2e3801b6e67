"""The store of answers: several processes and threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from coreset.scorers import cache


@pytest.mark.parametrize("turn", range(10))
def test_a_new_store_opened_by_many_at_once(tmp_path, turn):
    path, start = tmp_path / "answers.sqlite", threading.Barrier(8)

    def one(i):
        start.wait()
        for j in range(5):
            cache.write(path, {f"{i} {j}": f'{{"cost": {i}}}'})
            assert cache.read(path, [f"{i} {j}", "absent"]) == {f"{i} {j}": f'{{"cost": {i}}}'}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))
    assert cache.total(path, "") == 5 * sum(range(8))
    assert cache.total(path, "3 ") == 15


def test_a_file_that_is_no_store(tmp_path):
    path = tmp_path / "answers.sqlite"
    path.write_text(
        "This is a letter, not a database; it is long enough to be read as a page of one." * 10
    )
    with pytest.raises(
        ValueError,
        match=r"cache: .*answers.sqlite cannot be used: file is not a database; remove it",
    ):
        cache.read(path, ["a"])
