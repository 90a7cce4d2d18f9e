"""The full key as plain SQL: SHA-256 in arithmetic, so that any SQLite tool can show keys.

A key follows from columns that are stored anyway, and 32 bytes in every row for the sake of
showing it would make the file a tenth larger. SQLite itself has no SHA-256, and a function that
we registered would be missing in every other program. So the view computes it, and only where it
is asked for: about a millisecond each. Programs find entries by the columns, never by this.

The algorithm is FIPS 180-4's; ``xor`` is written ``(a | b) - (a & b)`` since SQLite lacks it.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

_MASK: Final = 0xFFFFFFFF
_STATE: Final = "abcdefgh"
_WORDS: Final = range(16)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _cube_root(number: int) -> int:
    root: int = round(number ** (1 / 3))
    while root**3 > number:
        root -= 1
    while (root + 1) ** 3 <= number:
        root += 1
    return root


_ROUND_CONSTANTS: Final = [_cube_root(prime << 96) & _MASK for prime in _primes(64)]
_INITIAL: Final = [isqrt(prime << 64) & _MASK for prime in _primes(8)]


def _xor(one: str, other: str) -> str:
    return f"(({one}|{other})-({one}&{other}))"


def _rotate(word: str, bits: int) -> str:
    return f"((({word}>>{bits})|({word}<<{32 - bits}))&{_MASK})"


def _mix(word: str, one: int, two: int, three: str) -> str:
    return _xor(_xor(_rotate(word, one), _rotate(word, two)), three)


def sha256_sql(text: str) -> str:
    """A scalar SQL expression: the SHA-256 of the SQL text ``text``, as 64 lower-case hex digits.

    A row of ``digest`` is the state between two steps: the sums ``s*`` so far, the working
    variables, and the sixteen words that come next. A block takes 81 steps: 16 that read a word
    each (``step`` from -16), 64 rounds, and one that adds up. Everything a step needs is in the
    row: what depends on the row of an outer query would be computed anew at each mention.
    """
    sums = ",".join(f"s{name}" for name in _STATE)
    variables = ",".join(_STATE)
    words = ",".join(f"w{index}" for index in _WORDS)
    shifted = ",".join(f"w{index}" for index in _WORDS[1:])
    initial = ",".join(map(str, _INITIAL))
    added = ",".join(f"(s{name}+{name})&{_MASK}" for name in _STATE)
    constants = ",".join(f"({index},{value})" for index, value in enumerate(_ROUND_CONSTANTS))
    word = "|".join(
        f"(instr('123456789ABCDEF',substr(digits,block*128+step*8+{129 + nibble},1))"
        f"<<{28 - nibble * 4})"
        for nibble in range(8)
    )
    choose = _xor("(e&f)", f"(({_MASK}-e)&g)")
    majority = _xor(_xor("(a&b)", "(a&c)"), "(b&c)")
    temp1 = f"h+{_mix('e', 6, 11, _rotate('e', 25))}+{choose}+k.value+w0"
    temp2 = f"{_mix('a', 2, 13, _rotate('a', 22))}+{majority}"
    following = f"w0+{_mix('w1', 7, 18, '(w1>>3)')}+w9+{_mix('w14', 17, 19, '(w14>>10)')}"
    state_hex = "||".join(f"printf('%08x',s{name})" for name in _STATE)
    return f"""(WITH RECURSIVE
k(round, value) AS (VALUES {constants}),
message(bytes) AS (SELECT CAST({text} AS BLOB)),
digest(digits, blocks, block, step, {sums}, {variables}, {words}) AS (
  SELECT hex(bytes)||'80'||hex(zeroblob((119-length(bytes)%64)%64))
         ||printf('%016X',length(bytes)*8),
         (length(bytes)+72)/64, 0, -16, {initial}, {initial}, {",".join("0" for _ in _WORDS)}
  FROM message
  UNION ALL
  SELECT digits, blocks, block, step+1, {sums}, {variables}, {shifted}, {word}
  FROM digest WHERE step < 0 AND block < blocks
  UNION ALL
  SELECT digits, blocks, block, step+1, {sums},
         ({temp1}+{temp2})&{_MASK}, a, b, c, (d+{temp1})&{_MASK}, e, f, g,
         {shifted}, ({following})&{_MASK}
  FROM digest CROSS JOIN k ON k.round = step
  UNION ALL
  SELECT digits, blocks, block+1, -16, {added}, {added}, {words}
  FROM digest WHERE step = 64
)
SELECT {state_hex} FROM digest WHERE block = blocks)"""


CACHE_KEY_SQL: Final = sha256_sql(
    "lower(hex(f.hash))||':'||p.model||':'"
    "||ifnull(p.prompt_hash,'')||':'||ifnull(p.schema_version,1)"
)
