"""RFC 8032 §5.1.7: which Ed25519 signatures are valid, as one rule for every member.

RFC 8032 leaves room, and libraries use it differently. Members that disagree about one signature are in
different groups from then on, so the rule is fixed here and belongs to no library
(docs/adr/0003-one-ed25519-rule.md has the reasons and the measurements):

1. a public key A is 32 bytes, a signature 64: R and S;
2. S is below the group order;
3. A and R are canonical encodings of points of the curve, and the order of neither divides 8;
4. with h = SHA-512(R || A || content), S·B = R + h·A exactly: the equation without the cofactor.

`well_formed` decides 1, 2 and 3 but for "of the curve", in about half a microsecond. After it, every library
that uses the equation of 4 gives the rule's answer, so none has to be asked twice and a forgery costs one
verification.
"""

from __future__ import annotations

_FIELD = 2**255 - 19
_SIGN = 1 << 255
ORDER = 2**252 + 27742317777372353535851937790883648493

# Of the eight points whose order divides 8: (0, 1), (0, -1), two with y = 0, and four of order 8.
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER = (0, 1, _FIELD - 1, _Y8, _FIELD - _Y8)

# All encodings that no A and no R may have, under either sign bit: the ten of small order (the bit is free
# where x = 0), and the 38 whose y is not reduced, for the field is 19 short of 2^255.
REFUSED = frozenset(
    (y | sign).to_bytes(32, "little") for y in (*_SMALL_ORDER, *range(_FIELD, _SIGN)) for sign in (0, _SIGN)
)


def well_formed(public: bytes, signature: bytes) -> bool:
    """Everything the rule asks before the equation: lengths, S below the order, encodings not refused."""
    return (
        len(public) == 32
        and len(signature) == 64
        and int.from_bytes(signature[32:], "little") < ORDER
        and public not in REFUSED
        and signature[:32] not in REFUSED
    )
