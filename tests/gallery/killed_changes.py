"""Kills a process at each of its writes, one after the other, while it changes a gallery; run by `test_changes.py`.

A process of its own, which has no threads when it forks.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from src.gallery import Gallery
from src.gallery.gallery_changes import Changes
from src.gallery.reembedding import reembed
from tests.gallery.made_up import embedder, feature, make, paths, table

EVENTS = ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir")


def kill_at(place):
    """Ends this process, as `kill -9` does, at its write number `place`."""
    left = [place]

    def hook(event, arguments):
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if writes or event in EVENTS:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    sys.addaudithook(hook)


def run(folder):
    kind = "hnsw"
    out, embeds = make(folder, range(24), kind)
    other = embedder(folder, "two")
    there, salt, killed, next_one = {*range(24)}, "one", 0, 100
    changes = ("delete", "add", "fold", "reembed")
    for change in changes:
        for place in range(200):
            new, gone = {next_one, next_one + 1}, {min(there)}
            after = {"add": there | new, "delete": there - gone}.get(change, there)
            if (child := os.fork()) == 0:
                kill_at(place)
                if change == "add":
                    Changes(out).add(table(new), embeds if salt == "one" else other)
                elif change == "delete":
                    Changes(out).delete(lambda records, gone=gone: (records["path"] == f"{min(gone)}.jpg").to_numpy())
                elif change == "fold":
                    Changes(out).fold()
                else:
                    reembed(out, other)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            gallery = Gallery.open(out)
            found = {int(path.removesuffix(".jpg")) for path in paths(gallery)}
            assert found in (there, after), (change, place, found ^ there)
            salts = ("one", "two") if change == "reembed" else (salt,)
            wanted = [np.stack([feature(path, salt) for path in paths(gallery)]) for salt in salts]
            assert any(np.array_equal(gallery.features, expected) for expected in wanted), (change, place)
            hits = gallery.search(gallery.features, 1)
            assert [hit[0].row for hit in hits] == list(range(len(gallery))), (change, place)
            if os.WIFEXITED(status):
                assert os.waitstatus_to_exitcode(status) == 0, (change, place)
                assert found == after, (change, place)
                if change == "reembed":
                    assert np.array_equal(gallery.features, wanted[1])
                    salt = "two"
                there, next_one = after, next_one + 2
                break
            killed += 1
            there = found  # as before or as after: both go on from here
            if change == "add" and found == after:
                next_one += 2
            if change == "reembed" and np.array_equal(gallery.features, wanted[1]):
                salt = "two"
                break
        else:
            raise AssertionError(f"{change} never ended")
    Changes(out).delete(lambda records: np.arange(len(records)) == 0)  # takes away what the killed have left
    left = [path.name for path in out.glob("*") if path.name.startswith(("index-", "gone-"))]
    assert len(left) <= 2, left
    print(killed)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
