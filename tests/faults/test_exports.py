"""Leaving a database, and coming back from JSON Lines, while all goes wrong that can."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from faults.campaign import SEEDS, Campaign
from faults.exports import JOURNEYS
from faults.journeys import crash_it, cut_its_power, fail_it, kill_it
from faults.victims import CAN_WATCH

CRASHES: Final = 6
FAILURES: Final = 6
POWER_CUTS: Final = 6
KILLS: Final = 2
"""Of each way, for each seed."""

each_way = pytest.mark.parametrize("name", JOURNEYS)
each_seed = pytest.mark.parametrize("seed", SEEDS)


@each_seed
@each_way
def test_export_outlives_crashes_bad_disks_and_power_cuts(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    journey = JOURNEYS[name](name, seed, place)
    crash_it(journey, campaign, CRASHES, seed)
    fail_it(journey, campaign, FAILURES, seed)
    cut_its_power(journey, campaign, POWER_CUTS, seed)
    campaign.conclude(least=CRASHES + FAILURES - 2 + POWER_CUTS)


@pytest.mark.skipif(not CAN_WATCH, reason="there is no /proc to find processes in")
@each_seed
@each_way
def test_export_outlives_kill_9(place: Path, campaign: Campaign, name: str, seed: int) -> None:
    kill_it(JOURNEYS[name](name, seed, place), campaign, KILLS, seed)
    campaign.conclude(least=KILLS)
