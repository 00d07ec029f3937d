"""The one error that people are meant to read."""


class SluiceError(Exception):
    """Bad input or a missing part: one sentence that says what is wrong, where, and how to mend it.

    The command line prints it without a traceback; a server answers it as 4xx.
    """
