"""Encodes a data set's images ahead of training, alone or in shards.

python -m experiments.embed dataset=folder dataset.root=photos sam=vit_b
python -m experiments.embed -m num_shards=4 shard=0,1,2,3 hydra/launcher=local

What is on disk already is left alone, so that an interrupted or repeated command only does what is missing.
"""

from __future__ import annotations

import logging

from omegaconf import DictConfig
from rich.progress import track

from alignsam_gym.agents.trained_run import dataset_options
from alignsam_gym.data import load_dataset
from alignsam_gym.errors import OptionError, check_count, check_list
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.shard import Shard
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import load_sam

log = logging.getLogger(__name__)


@hydra_command("embed")
def main(config: DictConfig) -> int:
    """Encode what is missing of a shard, as conf/embed.yaml documents it, and return the number of images encoded."""
    shard = Shard.checked(config.shard, config.num_shards)
    check_count("batch_size", config.batch_size, "at least one image is encoded at once")
    check_list("splits", config.splits)
    if not config.splits:
        raise OptionError(f"splits={config.splits}: name at least one, such as [train,test].")
    name, options = dataset_options(config)
    model = load_sam(config.env.sam, config.device, config.env.precision)
    store = EmbeddingStore(config.cache_dir)
    encoded = 0
    for split in config.splits:
        samples = load_dataset(name, split, config.on_error, **options)
        images = EncodedDataset(samples, model, store, config.env.image_size)
        mine = shard.part(range(len(samples)))
        batches = [mine[start : start + config.batch_size] for start in range(0, len(mine), config.batch_size)]
        made = 0
        for batch in track(batches, f"{samples.name}, {split}"):
            made += images.fill_store(batch)
            if not store.writable:  # of which training warns alone, as it goes on without
                raise OptionError(f"cache_dir={store.directory}: no embedding can be kept there; name another folder.")
        log.info("%s, %s: encoded %d of %d images; the others were there", samples.name, split, made, len(mine))
        encoded += made
    log.info("embeddings are in %s", store.directory)
    return encoded


if __name__ == "__main__":
    main()
