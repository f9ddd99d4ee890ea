"""The Segment Anything Model and its successors, frozen, prompted on many images at once.

| file | holds |
| --- | --- |
| `predictor.py` | `BatchedSamPredictor` (encodes images, decodes prompts) and `load_sam` |
| `batched_decoder.py` | SAM's prompt encoder and mask decoder on different images in one batch |
| `sam_hq.py`, `sam2.py`, `mobile_sam.py` | encoders and decoders of SAM's successors; SAM's are in `segment_anything` |
| `build_sam.py` | recognises a checkpoint's architecture and builds the model |
| `official_checkpoints.py`, `checkpoint_download.py` | published checkpoints, how they are verified and downloaded |
| `hf_checkpoints.py`, `transformers_format.py` | checkpoints as `transformers` saves them, of the Hub or a folder |
| `decode_calibration.py` | measures how many prompt sets are best decoded at once |
"""
