from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from rustassistant.cache.cached import CachedAnalysis
from rustassistant.stores.live import Answer
from support import sample_entry


def again(hit: CachedAnalysis) -> Any:
    return pickle.loads(pickle.dumps(hit))  # noqa: S301 - our own


@pytest.mark.parametrize("copied", [again, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("is_read", [False, True])
def test_copy_of_a_hit_has_its_result(copied: Callable[[Any], Any], is_read: bool) -> None:
    hit = CachedAnalysis(Answer.from_entry(sample_entry(result=b'{"a":[1]}')), computed=True)
    if is_read:
        assert hit.result == {"a": [1]}
    other = copied(hit)
    assert other.result == {"a": [1]}
    assert (other.text, other.model, other.computed) == (hit.text, hit.model, True)
