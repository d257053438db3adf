"""Files and folders that change their names and places quicker than anybody can follow."""

import random

from torture.churn import Churn, keep_on
from torture.harness import SCALE, Ordeal, scaled

_RENAMING_S = 60.0


def test_renames_of_files_and_folders_at_random_for_a_minute(ordeal: Ordeal) -> None:
    rng = random.Random(9)  # noqa: S311 - no secret
    churn = Churn(ordeal.root, seed=10)
    for _ in range(scaled(50, at_least=5)):
        churn.make_folder()
    for _ in range(scaled(1000, at_least=50)):
        churn.make_file()
    ordeal.start()
    ordeal.await_equality()
    moves = 0

    def move() -> None:
        nonlocal moves
        moves += 1
        if rng.random() < 0.05:
            churn.move_folder()
        else:
            churn.move_file()

    keep_on(move, _RENAMING_S * min(1.0, max(SCALE, 0.05)), pause_s=0.01)
    ordeal.begin()
    expected = ordeal.await_equality()
    assert len(expected) == len(churn.files) == churn.contents
    ordeal.finish()
    # Each content is still one asset, at one place, and nothing was imported a second time.
    assert ordeal.count("content_hash") == churn.contents
    assert ordeal.count("location WHERE missing_since IS NULL") == churn.contents
    assert ordeal.count("event WHERE event_type = 'file.imported'") == churn.contents
    moved, missing = (ordeal.count(f"event WHERE event_type = 'file.{each}'") for each in ("moved", "missing"))
    assert moved > 0
    assert missing == 0
    ordeal.figures |= {"moves": moves, "told as moved": moved, "told as missing": missing}
