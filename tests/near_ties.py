"""Lists of nearest entries compared up to rounding: the order of two at nearly one distance is nobody's fault."""

import numpy as np


def assert_same_lists(found, wanted, rtol=1e-5):
    """Compares ranked lists of random features, of which some pair is always as near as float32 can tell.

    Args:
        found: Entries and their distances, each Q lists of k; distances that grow along a list.
        wanted: The same, from elsewhere.
        rtol: Distances this near each other, relative to their size, may change places.
    """
    np.testing.assert_allclose(found[1], wanted[1], rtol=rtol)
    for entries, distances, expected, values in zip(*found, *wanted, strict=True):
        assert len(entries) == len(expected)
        there = np.isfinite(np.asarray(distances, dtype=np.float64))
        assert len({entry for entry, is_there in zip(entries, there, strict=True) if is_there}) == there.sum()
        place = {entry: column for column, entry in enumerate(expected)}
        for column, (entry, distance) in enumerate(zip(entries, distances, strict=True)):
            if entry != expected[column]:  # one that fell off the end is as far as the last
                np.testing.assert_allclose(distance, values[place.get(entry, -1)], rtol=rtol, err_msg=f"of {entry}")
