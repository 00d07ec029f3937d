"""Gate: does the challenger beat the champion on the same examples?"""
