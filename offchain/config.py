"""Settings and the one error that users see."""


class BallastError(Exception):
    """Bad input or an unusable environment: one line that says what and how to mend it. Commands exit with 2."""
