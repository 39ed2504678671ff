"""From pictures to expressions: the Reader, its classifier, inputs and outputs. No torch."""
