"""The embedded CLIP's tokenizer. It stands apart because ``open_clip``, whose it is, takes seconds to import."""

from __future__ import annotations

from itertools import islice

from open_clip.tokenizer import SimpleTokenizer

from alignsam_gym.foundation.tiny.tiny_clip import BYTES, CONTEXT, MERGES


class TinyTokenizer(SimpleTokenizer):  # type: ignore[misc]  # open_clip has no types
    """CLIP's tokenizer with the most frequent `MERGES` only: n texts → int64 (n, 32), ids below `vocab_size`.

    CLIP's whole vocabulary of 49,408 would be most of the weights. Here a rare word takes a few tokens more, and every
    text can still be written.

    Attributes:
        vocab_size: The number of tokens.
    """

    encoder: dict[str, int]
    decoder: dict[int, str]
    bpe_ranks: dict[tuple[str, str], int]
    all_special_ids: list[int]

    def __init__(self) -> None:
        super().__init__(context_length=CONTEXT)
        # CLIP's vocabulary begins with the bytes, goes on with the merges in order, and ends with the special tokens.
        tokens = [*islice(self.encoder, BYTES + MERGES), *(self.decoder[i] for i in self.all_special_ids)]
        self.bpe_ranks = dict(islice(self.bpe_ranks.items(), MERGES))
        self.encoder = {token: number for number, token in enumerate(tokens)}
        self.decoder = dict(enumerate(tokens))
        self.vocab_size = len(tokens)
        self.all_special_ids = [self.vocab_size - 2, self.vocab_size - 1]
        self.sot_token_id, self.eot_token_id = self.all_special_ids


TOKENIZER = TinyTokenizer()
"""The only one: making it takes a moment, and nothing changes it."""
