"""The Segment Anything Model and its successors: building, downloading, and decoding different images in one batch."""
