"""Keys of texts: what they are, and that equal texts have equal ones everywhere."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coreset.core.text_keys import text_keys


def test_a_key_is_the_first_eight_bytes_of_blake2b_with_a_digest_of_eight():
    # of RFC 7693's function with nn = 8, by b2sum -l 64
    assert [f"{int(k).to_bytes(8, 'little').hex()}" for k in text_keys(["", "abc"])] == [
        "e4a6a0577479b2b4",
        "d8bb14d833d59559",
    ]


@given(st.lists(st.text(st.characters(), max_size=5), max_size=30))
def test_keys_are_equal_where_texts_are(texts):
    keys = text_keys(texts)
    assert keys.dtype == np.uint64
    assert keys.shape == (len(texts),)
    assert [[a == b for a in texts] for b in texts] == [[bool(a == b) for a in keys] for b in keys]


def test_keys_are_the_same_in_a_process_with_another_seed_of_hashes():
    code = "from coreset.core.text_keys import text_keys; print(text_keys(['a', 'é', '']).tolist())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }  # fmt: skip
    assert seen == {f"{text_keys(['a', 'é', '']).tolist()}\n"}


def test_half_of_a_surrogate_pair_has_a_key():
    assert len(set(text_keys(["\ud83d", "\ude00", "�"]).tolist())) == 3
