"""Building blocks of the networks, one idea a file, each with its source."""
