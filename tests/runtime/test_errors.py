import subprocess
import sys

import pytest

from src.runtime.errors import did_you_mean


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("colr", "; did you mean 'colour'?"),
        ("tipe", "; did you mean 'type'?"),
        ("xyz", "."),
        (7, "."),
    ],
)
def test_the_nearest_name_ends_the_sentence(name, end):
    assert did_you_mean(name, ["colour", "type"]) == end
    assert did_you_mean("xyz", {"colour": 1}, "; rename it.") == "; rename it."


def test_it_needs_no_hydra():
    code = "import sys, src.runtime.errors; print('hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
