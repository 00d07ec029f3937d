"""`make bench`: the served INT8 endpoint beside the server that everyone writes first, in one run."""
