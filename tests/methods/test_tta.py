import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from src.methods.base import ReIDMethod
from src.methods.tta import Views


class Corner(ReIDMethod):
    """Embeds an image as its upper left pixel and its size."""

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        image = batch["image"].float()
        size = torch.full((len(image), 1), float(image.shape[-1]))
        return torch.cat([image[:, :, 0, 0], size], dim=1)


def test_the_embedding_is_the_mean_over_mirror_images_and_scales():
    method = Corner()
    image = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    batch = {"image": image, "row": torch.arange(3)}
    torch.testing.assert_close(method(batch), F.normalize(method.embed(batch)))
    method.average_over(Views(flip=True, scales=(1.0, 0.5)))
    smaller = F.interpolate(image.float(), (4, 4), mode="bilinear", antialias=True)
    looks = [image, image.flip(-1), smaller, smaller.flip(-1)]
    expected = sum(method.embed({"image": look}) for look in looks)
    torch.testing.assert_close(method(batch), F.normalize(expected))


def test_masks_follow_their_image():
    glare = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    glare[..., 0, 5] = 1  # a thin highlight survives
    batch = {"image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "glare": glare, "row": torch.tensor([4])}
    whole, mirrored, small, small_mirrored = Views(flip=True, scales=(1.0, 0.5))(batch)
    assert whole is batch
    assert mirrored["glare"].nonzero()[:, 2:].tolist() == [[0, 2]]
    assert small["glare"].nonzero()[:, 2:].tolist() == [[0, 2]]
    assert small["glare"].dtype == torch.uint8
    assert small_mirrored["glare"].nonzero()[:, 2:].tolist() == [[0, 1]]
    assert small_mirrored["row"] is batch["row"]


@pytest.mark.parametrize("scales", [(), (1.0, 0.0)])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(ValueError, match=r"retrieval\.scales is"):
        Views(scales=scales)
