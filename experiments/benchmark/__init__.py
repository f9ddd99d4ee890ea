"""What ``alignsam benchmark`` times, one benchmark a file."""

from enum import StrEnum


class Benchmark(StrEnum):
    """What can be timed."""

    decode = "decode"
    env = "env"
    evaluate = "evaluate"
    gpu = "gpu"
    memory = "memory"
    store = "store"
    train = "train"


class Architecture(StrEnum):
    """Which SAM it is timed on. The weights of vit_b are random."""

    vit_b = "vit_b"
    tiny = "tiny"
