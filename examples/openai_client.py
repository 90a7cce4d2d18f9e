"""Analyse files with any service that speaks OpenAI's protocol, each content only once.

    pip install openai
    export OPENAI_API_KEY=... OPENAI_BASE_URL=https://api.x.ai/v1
    python examples/openai_client.py --model grok-4 src/*.py

Run it again: what was paid for is not paid for again, whatever the files are called by then.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from openai import OpenAI

from rustassistant import AnalysisCache, Computed

PROMPT = "Review this file. Answer with one JSON object: summary, and a list of problems."


def main() -> None:
    """Parse, analyse some files at a time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--cache", default="analyses.db")
    options = parser.parse_args()
    client = OpenAI()
    with AnalysisCache(options.cache) as cache:

        @cache.analysis(type="docs", provider="openai", model=options.model, prompt=PROMPT)
        def review(path: Path) -> Computed:
            answer = client.chat.completions.create(
                model=options.model,
                messages=[
                    {"role": "system", "content": PROMPT},
                    {"role": "user", "content": path.read_text(encoding="utf-8")},
                ],
                response_format={"type": "json_object"},
            )
            used = answer.usage.total_tokens if answer.usage else None
            return Computed(json.loads(answer.choices[0].message.content or "null"), used)

        with ThreadPoolExecutor(8) as threads:
            reviews: list[Any] = list(threads.map(review, options.files))
        for path, found in zip(options.files, reviews, strict=True):
            print(path, json.dumps(found, ensure_ascii=False))
        counted = cache.statistics()
        print(f"{counted.hits} hits, {counted.misses} misses, {counted.tokens_saved} tokens saved")


if __name__ == "__main__":
    main()
