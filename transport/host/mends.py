"""placeholder"""


def check() -> None:
    pass
