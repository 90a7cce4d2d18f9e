"""Leaving a database, and coming back from JSON Lines, while all goes wrong that can."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from faults.campaign import SEEDS, Campaign
from faults.exports import JOURNEYS
from faults.journeys import crash_it, cut_its_power, fail_it

CRASHES: Final = 8
FAILURES: Final = 8
POWER_CUTS: Final = 8
"""Of each way, for each seed."""

each_way = pytest.mark.parametrize("name", JOURNEYS)
each_seed = pytest.mark.parametrize("seed", SEEDS)


@each_seed
@each_way
def test_export_outlives_a_crash(place: Path, campaign: Campaign, name: str, seed: int) -> None:
    crash_it(JOURNEYS[name](name, seed, place), campaign, CRASHES, seed)
    campaign.conclude(least=CRASHES)


@each_seed
@each_way
def test_export_outlives_a_bad_disk(place: Path, campaign: Campaign, name: str, seed: int) -> None:
    fail_it(JOURNEYS[name](name, seed, place), campaign, FAILURES, seed)
    campaign.conclude(least=FAILURES - 2)


@each_seed
@each_way
def test_export_outlives_a_power_cut(place: Path, campaign: Campaign, name: str, seed: int) -> None:
    cut_its_power(JOURNEYS[name](name, seed, place), campaign, POWER_CUTS, seed)
    campaign.conclude(least=POWER_CUTS)
