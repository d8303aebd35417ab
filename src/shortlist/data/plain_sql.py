"""A condition in SQL that anybody may have written to what in it could do harm.

Polars computes whatever it can read: one ``lpad(title, 1000000000, 'x')`` takes the memory of the machine. So only functions
are let through whose result is about as long as what they are given, and nothing that could hide another from who knows less
of SQL than Polars does.
"""

from __future__ import annotations

import re

FUNCTIONS = frozenset(
    [
        "abs",
        "array_contains",
        "array_length",
        "cast",
        "ceil",
        "ceiling",
        "char_length",
        "coalesce",
        "ends_with",
        "floor",
        "greatest",
        "ifnull",
        "least",
        "left",
        "length",
        "lower",
        "ltrim",
        "mod",
        "nullif",
        "regexp_like",
        "right",
        "round",
        "rtrim",
        "sign",
        "sqrt",
        "starts_with",
        "strpos",
        "substr",
        "trim",
        "try_cast",
        "upper",
    ]
)
_WORDS = frozenset(
    ["and", "between", "case", "else", "ilike", "in", "is", "like", "not", "or", "then", "when"]
)  # these may stand before a bracket

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<name>"[^"]*")|(?P<word>[^\W\d]\w*)|(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<comment>--|/\*)|(?P<sign>[().,:<>=!+*/%~^&\[\]-])|(?P<space>\s+)|(?P<other>.)""",
    re.DOTALL,
)


def harm(condition: str) -> str | None:
    """What of a condition is not let through; None where all is.

    >>> harm("price < 5 and lower(category) in ('tea', 'it''s lpad(')")
    >>> harm("lpad (title, 1000000000, 'x') = 'a'")
    'the function lpad'
    >>> harm("title || title = 'a'")
    "the character '|'"
    """
    before, last_kind, last = "", "", ""  # the kind of the token before this one, and what was last but spaces
    for found in _TOKEN.finditer(condition):
        kind, token = str(found.lastgroup), found[0]
        if kind == "comment":
            return "a comment"
        if kind == "other":
            return f"the character {token!r}"
        if kind == "text" and (
            before in ("word", "number") or "\\'" in token
        ):  # may be longer for others than it looks
            return f"the text {token[:40]}, which follows a word without a space or has a backslash before a quote"
        if token == "(" and (last_kind == "name" or (last_kind == "word" and last.lower() not in FUNCTIONS | _WORDS)):
            return f"the function {last[:40]}"
        before = kind
        if kind != "space":
            last_kind, last = kind, token
    return None
