"""A program that imports the package keeps its own settings; a command has those that it needs."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Everything a program may import, and what all of it must leave alone.
IMPORTING = """
import atexit, json, cv2, matplotlib
registered, register = [], atexit.register

def noted(function, *args, **kwargs):
    registered.append(str(getattr(function, "__module__", "")))
    return register(function, *args, **kwargs)

atexit.register = noted
threads, look, backend = cv2.getNumThreads(), dict(matplotlib.rcParams), matplotlib.rcParams._get("backend")
import src.embed, src.training.run, src.runs.reports, src.gallery, src.evaluation.evaluation_run, src.figures.curves
changed = [name for name, value in look.items() if name != "backend" and matplotlib.rcParams[name] != value]
print(json.dumps({
    "threads": cv2.getNumThreads() - threads,
    "changed": changed,
    "backend": matplotlib.rcParams._get("backend") != backend,
    "registered": [name for name in registered if name.startswith("src.")],
}))
"""


def test_importing_changes_nothing_outside_the_package():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=True, cwd=ROOT, env={"PATH": ""}
    )
    changes = json.loads(done.stdout.splitlines()[-1])
    assert changes == {"threads": 0, "changed": [], "backend": False, "registered": []}


def test_a_command_keeps_opencv_to_one_thread_and_lets_idle_threads_of_torch_sleep(tmp_path):
    code = """
import sys
from src.runtime.command import command
early = "torch" in sys.modules  # which reads the policy as it is loaded

@command("check_data")
def main(cfg):
    import os, cv2
    print("threads", cv2.getNumThreads(), "policy", os.environ["OMP_WAIT_POLICY"], "early", early)

sys.argv = ["check_data", "hydra.run.dir=run"]
main()
"""
    env = {"PATH": "", "PYTHONPATH": str(ROOT)}
    for given, policy in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=env | given
        )
        assert f"threads 1 policy {policy} early False" in done.stdout
