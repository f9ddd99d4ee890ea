import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.build_sam import sam_model_registry

from alignsam_gym.foundation.sam.batched_decoder import PADDING, BatchedDecoder
from alignsam_gym.foundation.tiny.tiny_sam import build_tiny_sam


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return _amplified(build_tiny_sam()).eval()


def _amplified(sam):
    """Random weights, with logits that spread over several units instead of hundredths."""
    with torch.no_grad():
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 30
    return sam


def decode(prompt_encoder, mask_decoder, embeddings, points, labels, mask_input=None, multimask_output=False):
    decoder = BatchedDecoder(prompt_encoder, mask_decoder)
    return decoder.decode(decoder.prepare_image(embeddings, mask_input), points, labels, multimask_output)


def _predict(sam, embedding, points, labels, mask_input, multimask, box=None):
    predictor = SamPredictor(sam)
    size = sam.image_encoder.img_size
    predictor.features = embedding[None]
    predictor.original_size = predictor.input_size = (size, size)
    predictor.is_image_set = True
    _, iou, logits = predictor.predict(
        points.numpy() if len(points) else None,
        labels.numpy() if len(points) else None,
        box=None if box is None else box.numpy(),
        mask_input=None if mask_input is None else mask_input.numpy(),
        multimask_output=multimask,
    )
    return torch.from_numpy(logits), torch.from_numpy(iou)


def _prompts(sam, lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dim, (height, width) = sam.prompt_encoder.embed_dim, sam.prompt_encoder.image_embedding_size
    count, longest = len(lengths), max(lengths)
    embeddings = torch.randn(count, dim, height, width, generator=generator)
    points = torch.rand(count, longest, 2, generator=generator) * sam.image_encoder.img_size
    labels = torch.randint(0, 2, (count, longest), generator=generator)
    for row, length in enumerate(lengths):
        labels[row, length:] = PADDING
    masks = torch.randn(count, 1, 4 * height, 4 * width, generator=generator)
    return embeddings, points, labels, masks


def _assert_equal_to_predictor(sam, lengths, with_mask, multimask, tolerance):
    embeddings, points, labels, masks = _prompts(sam, lengths)
    with torch.no_grad():
        logits, iou = decode(
            sam.prompt_encoder,
            sam.mask_decoder,
            embeddings,
            points,
            labels,
            mask_input=masks if with_mask else None,
            multimask_output=multimask,
        )
    assert logits.std() > 0.1
    for row, length in enumerate(lengths):
        expected, expected_iou = _predict(
            sam,
            embeddings[row],
            points[row, :length],
            labels[row, :length],
            masks[row] if with_mask else None,
            multimask,
        )
        assert logits[row].shape == expected.shape
        torch.testing.assert_close(logits[row], expected, atol=tolerance, rtol=0)
        torch.testing.assert_close(iou[row], expected_iou, atol=tolerance, rtol=0)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("lengths", [(1, 5, 17), (17, 1, 2), (4, 4, 4)])
def test_a_batch_of_images_equals_sam_predictor_on_each(sam, lengths, with_mask, multimask):
    _assert_equal_to_predictor(sam, lengths, with_mask, multimask, 1e-4)


@pytest.mark.parametrize("lengths", [(0, 0), (3, 1)])
def test_boxes_equal_those_of_sam_predictor(sam, lengths):
    embeddings, points, labels, _ = _prompts(sam, lengths)
    boxes = torch.tensor([[20.0, 30, 200, 180], [5, 90, 40, 250]])
    decoder = BatchedDecoder(sam.prompt_encoder, sam.mask_decoder)
    with torch.no_grad():
        image = decoder.prepare_image(embeddings)
        logits, iou = decoder.decode(image, points, labels, multimask_output=True, boxes=boxes)
    for row, length in enumerate(lengths):
        given = points[row, :length], labels[row, :length]
        expected, expected_iou = _predict(sam, embeddings[row], *given, None, multimask=True, box=boxes[row])
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(iou[row], expected_iou, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("with_mask", [False, True])
def test_vit_b_equals_sam_predictor(with_mask):
    torch.manual_seed(0)
    sam = _amplified(sam_model_registry["vit_b"](checkpoint=None)).eval()
    _assert_equal_to_predictor(sam, (1, 6, 17), with_mask, with_mask, 1e-3)


def test_encoded_photographs_equal_sam_predictor(sam):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(3)]
    points = torch.from_numpy(rng.uniform(0, 256, (3, 4, 2)).astype(np.float32))
    labels = torch.tensor([[1, 0, 1, PADDING]] * 3)
    predictor, features, expected = SamPredictor(sam), [], []
    for image, p in zip(images, points, strict=True):
        predictor.set_image(image)
        features.append(predictor.features)
        expected.append(predictor.predict(p[:3].numpy(), labels[0, :3].numpy(), multimask_output=False)[2])
    with torch.no_grad():
        logits, _ = decode(sam.prompt_encoder, sam.mask_decoder, torch.cat(features), points, labels)
    np.testing.assert_allclose(logits.numpy(), np.stack(expected), atol=1e-4)


@pytest.mark.parametrize("extra", [1, 13])
def test_the_amount_and_the_content_of_padding_change_nothing(sam, extra):
    embeddings, points, labels, _ = _prompts(sam, (3, 5))
    padded_points = torch.cat([points, torch.rand(2, extra, 2) * 1000], dim=1)
    padded_labels = torch.cat([labels, torch.full((2, extra), PADDING)], dim=1)
    with torch.no_grad():
        short, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points, labels)
        long, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, padded_points, padded_labels)
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_padding_may_stand_between_points(sam):
    embeddings, points, labels, _ = _prompts(sam, (4,))
    holes = [0, 2, 3]
    labels[0, 1] = PADDING
    with torch.no_grad():
        padded, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points, labels)
        dense, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points[:, holes], labels[:, holes])
    torch.testing.assert_close(padded, dense, atol=1e-5, rtol=0)


def test_no_points_at_all_equal_only_padding(sam):
    embeddings, points, labels, _ = _prompts(sam, (3, 3))
    labels[:] = PADDING
    with torch.no_grad():
        none, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points[:, :0], labels[:, :0])
        padded, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points, labels)
    assert none.shape == (2, 1, 128, 128)
    torch.testing.assert_close(none, padded, atol=1e-5, rtol=0)


def test_each_label_means_something_else(sam):
    embeddings, points, labels, _ = _prompts(sam, (2,))
    answers = []
    for label in (0, 1, PADDING):
        labels[0, 1] = label
        with torch.no_grad():
            answers.append(decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points, labels)[0])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (answers[i] - answers[j]).abs().max() > 1e-3


def test_gradients_are_those_of_segment_anythings_own_decoder(sam):
    """Training takes another kernel than inference does; both must compute the same thing."""
    embeddings, points, labels, masks = _prompts(sam, (5,))
    encoder, own = sam.prompt_encoder, sam.mask_decoder
    weight = torch.randn(128, 128, generator=torch.Generator().manual_seed(1))

    def gradients(logits):
        parameters = [*own.transformer.parameters(), *own.output_upscaling.parameters()]
        return torch.autograd.grad((logits[:, 0] * weight).mean(), parameters)

    ours = gradients(decode(encoder, own, embeddings, points, labels, masks)[0])
    sparse, dense = encoder(points=(points, labels), boxes=None, masks=masks)
    theirs = gradients(own(embeddings, encoder.get_dense_pe(), sparse, dense, multimask_output=False)[0])
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-4 * float(expected.abs().max()) + 1e-7, rtol=1e-3)


def test_images_that_were_prepared_once_serve_every_prompt(sam):
    embeddings, points, labels, _ = _prompts(sam, (5, 3))
    with torch.no_grad():
        decoder = BatchedDecoder(sam.prompt_encoder, sam.mask_decoder)
        image = decoder.prepare_image(embeddings)
        for used in (2, 5, 1):
            again, _ = decoder.decode(image, points[:, :used], labels[:, :used])
            fresh, _ = decode(sam.prompt_encoder, sam.mask_decoder, embeddings, points[:, :used], labels[:, :used])
            assert torch.equal(again, fresh)
