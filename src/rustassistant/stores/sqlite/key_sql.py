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


def _words(block: str) -> str:
    """The sixteen words of a block, each looked up in ``word``."""
    return ",".join(f"(SELECT value FROM word WHERE i={block}*16+{word})" for word in _WORDS)


def sha256_sql(text: str) -> str:
    """A scalar SQL expression: the SHA-256 of the SQL text ``text``, as 64 lower-case hex digits.

    One row of ``digest`` is the state before one round: the sums ``s*`` so far, the working
    variables, and the sixteen words of the schedule that the next rounds need.
    """
    sums = ",".join(f"s{name}" for name in _STATE)
    words = ",".join(f"w{index}" for index in _WORDS)
    constants = ",".join(f"({index},{value})" for index, value in enumerate(_ROUND_CONSTANTS))
    initial = ",".join(map(str, _INITIAL))
    added = ",".join(f"(s{name}+{name})&{_MASK}" for name in _STATE)
    choose = _xor("(e&f)", f"(({_MASK}-e)&g)")
    majority = _xor(_xor("(a&b)", "(a&c)"), "(b&c)")
    temp1 = f"h+{_mix('e', 6, 11, _rotate('e', 25))}+{choose}+k.value+w0"
    temp2 = f"{_mix('a', 2, 13, _rotate('a', 22))}+{majority}"
    following = f"w0+{_mix('w1', 7, 18, '(w1>>3)')}+w9+{_mix('w14', 17, 19, '(w14>>10)')}"
    shifted = ",".join(f"w{index}" for index in _WORDS[1:])
    state_hex = "||".join(f"printf('%08x',s{name})" for name in _STATE)
    return f"""(WITH RECURSIVE
number(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM number, padded WHERE i+1 < blocks*16),
message(bytes) AS (SELECT CAST({text} AS BLOB)),
padded(digits, blocks) AS (
  SELECT hex(bytes)||'80'||hex(zeroblob((119-length(bytes)%64)%64))
         ||printf('%016X',length(bytes)*8), (length(bytes)+72)/64 FROM message),
word(i, value) AS (
  SELECT w.i, (SELECT sum(instr('123456789ABCDEF',substr(digits,w.i*8+n.i+1,1))<<(28-n.i*4))
               FROM number n WHERE n.i < 8)
  FROM number w, padded),
k(round, value) AS (VALUES {constants}),
digest(block, round, {sums}, {",".join(_STATE)}, {words}) AS (
  SELECT 0, 0, {initial}, {initial}, {_words("0")} FROM padded
  UNION ALL
  SELECT block, digest.round+1, {sums},
         ({temp1}+{temp2})&{_MASK}, a, b, c, (d+{temp1})&{_MASK}, e, f, g,
         {shifted}, ({following})&{_MASK}
  FROM digest JOIN k ON k.round = digest.round JOIN padded WHERE block < blocks
  UNION ALL
  SELECT block+1, 0, {added}, {added}, {_words("(block+1)")} FROM digest, padded WHERE round = 64
)
SELECT {state_hex} FROM digest, padded WHERE block = blocks)"""


CACHE_KEY_SQL: Final = sha256_sql(
    "lower(hex(f.hash))||':'||p.model||':'||ifnull(p.prompt_hash,'')||':'||ifnull(p.schema_version,1)"
)
