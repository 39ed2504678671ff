"""From pictures to expressions: the Reader, its classifier, what it takes in and what it writes. No torch."""
