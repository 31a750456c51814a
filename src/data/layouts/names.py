"""Names of colours and types that different data sets spell differently."""

_SAME = {
    "grey": "gray",
    "gold": "golden",
    "pickup truck": "pickup",
    "sports": "sportscar",
    "sports car": "sportscar",
    "station wagon": "estate",
    "wagon": "estate",
}


def common_name(name: str) -> str:
    """The one spelling of a colour or type: lower case, one space between words, VeRi-776's word where it has one.

    >>> common_name("Grey"), common_name("SUV"), common_name("")
    ('gray', 'suv', '')
    """
    plain = " ".join(name.casefold().split())
    return _SAME.get(plain, plain)
