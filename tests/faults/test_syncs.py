"""Two caches are brought in step while all goes wrong that can."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from faults.campaign import SEEDS, Campaign, Tally
from faults.journeys import crash_it, cut_it_unsynced, cut_its_power, fail_it, kill_it
from faults.syncs import JOURNEYS, Sync
from faults.victims import CAN_WATCH
from rustassistant.sync.tree import TreeSide

CRASHES: Final = 10
FAILURES: Final = 8
POWER_CUTS: Final = 8
UNSYNCED: Final = 8
"""Power cuts that may also take back what was done to a tree before."""
KILLS: Final = 3
"""Of each pair, for each seed, as all of these."""

each_pair = pytest.mark.parametrize("name", JOURNEYS)
each_seed = pytest.mark.parametrize("seed", SEEDS)


@pytest.fixture(autouse=True)
def remembered_with_the_case(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case sets the variable; afterwards it is as before."""
    monkeypatch.setenv("RUSTASSISTANT_HOME", str(own_home))


@each_seed
@each_pair
def test_sync_outlives_crashes_and_bad_disks(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    journey = JOURNEYS[name](name, seed, place)
    crash_it(journey, campaign, CRASHES, seed)
    fail_it(journey, campaign, FAILURES, seed)
    campaign.conclude(least=CRASHES + FAILURES - 2)


@each_seed
@each_pair
def test_sync_outlives_a_power_cut(place: Path, campaign: Campaign, name: str, seed: int) -> None:
    cut_its_power(JOURNEYS[name](name, seed, place), campaign, POWER_CUTS, seed)
    campaign.conclude(least=POWER_CUTS)


@each_seed
@pytest.mark.parametrize("name", [name for name in JOURNEYS if "tree" in name])
def test_addition_that_a_power_cut_takes_back_is_no_deletion(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    cut_it_unsynced(JOURNEYS[name](name, seed, place), campaign, UNSYNCED, seed)
    campaign.conclude(least=UNSYNCED)


@pytest.mark.skipif(not CAN_WATCH, reason="there is no /proc to find processes in")
@each_seed
@each_pair
def test_sync_outlives_kill_9(place: Path, campaign: Campaign, name: str, seed: int) -> None:
    kill_it(JOURNEYS[name](name, seed, place), campaign, KILLS, seed)
    campaign.conclude(least=KILLS)


def test_campaign_notices_what_is_remembered_before_it_is_durable(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TreeSide, "settle", lambda *_: None)
    campaign = Campaign(Tally())
    journey = Sync("sync of two trees", 1, place)
    journey.few = 50  # no wait for the whole disk, which would hide it
    cut_it_unsynced(journey, campaign, 4 * UNSYNCED, 1)
    with pytest.raises(AssertionError, match=r"remembered, and not there|taken for a deletion"):
        campaign.conclude(least=UNSYNCED)
