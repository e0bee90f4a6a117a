"""Prototypes of planted textures, one seed; tests/benchmarks/bench_prototypes.py has more."""

import planted_textures


def test_textures_are_told_and_found_where_they_are(tmp_path):
    run = planted_textures.trained(0, tmp_path, per_class=3, pool=2, top_cells=1)
    found = planted_textures.scores(run)
    assert found["accuracy"] >= 0.97
    assert found["found"] >= 0.85
    assert found["coverage"] >= 0.75


def test_prototypes_of_shuffled_classes_find_nothing(tmp_path):
    run = planted_textures.trained(0, tmp_path, shuffled=True, pool=2, top_cells=1)
    found = planted_textures.scores(run)
    assert found["found"] < 0.5
    assert found["coverage"] < 0.5
    # Each of the four is taken, as a whole, for any of the four: 0.25 on average, with a standard deviation of 0.22.
    assert found["accuracy"] < 0.25 + 2 * 0.22
