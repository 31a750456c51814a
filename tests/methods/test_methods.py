"""The losses of each method, put together by hand from its network's outputs."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from src.losses import batch_hard_triplet, cross_domain_triplet, gate_loss
from src.methods.attribute_guided import AttributeGuided
from src.methods.bot import BoT
from src.methods.dfr_st import DFRST
from src.methods.dndm import DNDM, DNDMReleased
from src.methods.pretrained import PretrainedFeatures
from src.methods.vehiclenet import VehicleNet
from src.networks import Backbone


@pytest.fixture
def batch():
    """Four identities, day and night, in no order."""
    order = torch.randperm(8)
    return {
        "image": torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8),
        "label": torch.arange(4).repeat_interleave(2)[order],
        "domain": torch.tensor([0, 1]).repeat(4)[order],
        "glare": (torch.rand(8, 1, 64, 64) > 0.95).to(torch.uint8),
    }


def backbone():
    return Backbone("resnet18")


@pytest.mark.parametrize("norm", [None, 1.5])
def test_bot(batch, norm):
    method = BoT(backbone(), num_classes=4, smoothing=0.1, margin=0.3, norm=norm)
    pooled = method.backbone(batch["image"]).mean(dim=(2, 3))
    normalised = F.batch_norm(pooled, None, None, method.neck.bn.weight, training=True)
    logits = normalised @ method.neck.classifier.weight.T
    losses = method.losses(batch)
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(logits, batch["label"], label_smoothing=0.1))
    torch.testing.assert_close(losses["triplet"], batch_hard_triplet(pooled, batch["label"], 0.3, norm=norm))
    method.eval()
    after = method.neck.bn(method.backbone(batch["image"]).mean(dim=(2, 3)))
    torch.testing.assert_close(method(batch), F.normalize(after))


@pytest.mark.parametrize("norm", [None, 1.5])
def test_dndm(batch, norm):
    method = DNDM(backbone(), num_classes=4, margin=0.2, norm=norm)
    out = method.network(batch["image"], batch["domain"], batch["label"], batch["glare"])
    losses = method.losses(batch)
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(out.logits, batch["label"]))
    expected = cross_domain_triplet(out.pooled, batch["label"], batch["domain"], 0.2, norm)
    torch.testing.assert_close(losses["triplet"], expected)
    assert method.head == [method.network.classifier]


def test_dndm_released(batch):
    method = DNDMReleased(backbone(), num_classes=4)
    out = method.network(batch["image"], batch["domain"], batch["label"], batch["glare"])
    losses = method.losses(batch)
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(out.logits, batch["label"]))
    torch.testing.assert_close(losses["triplet"], batch_hard_triplet(out.pooled, batch["label"], 0.3))
    torch.testing.assert_close(losses["gate"], gate_loss(out.gate, batch["domain"]))
    method.eval()
    embedded = method.network(batch["image"], batch["domain"], glare=batch["glare"])
    torch.testing.assert_close(method(batch), F.normalize(embedded.pooled))
    method.embedding = "after_neck"
    torch.testing.assert_close(method(batch), F.normalize(embedded.embedded))


@pytest.mark.parametrize("norm", [None, 1.5])
def test_dfr_st(batch, norm):
    parts = {"height": 2, "width": 3, "channel": 4}
    method = DFRST(backbone(), num_classes=4, dimension=16, parts=parts, norm=norm)
    out = method.network(batch["image"])
    losses = method.losses(batch)
    entropies = []
    for logits in out.logits:
        wanted = torch.full((8, 4), 0.1 / 3).scatter(1, batch["label"][:, None], 0.9)  # ε over the wrong classes
        entropies.append(-(wanted * logits.log_softmax(dim=1)).sum(dim=1).mean())
    assert len(entropies) == 1 + 1 + 2 + 3 + 4
    torch.testing.assert_close(losses["cross_entropy"], torch.stack(entropies).mean())
    triplets = [batch_hard_triplet(feature, batch["label"], 1.2, squared=True, norm=norm) for feature in out.metric]
    torch.testing.assert_close(losses["triplet"], 0.4 * (triplets[0] + triplets[1]))
    method.eval()
    torch.testing.assert_close(method(batch), F.normalize(method.network(batch["image"]).embedding))
    assert set(DFRST(backbone(), 4, lambda_value=0).losses(batch)) == {"cross_entropy"}
    with pytest.raises(ValueError, match=r"method\.triplet_reduction is 'max', expected mean or sum"):
        DFRST(backbone(), 4, triplet_reduction="max")


def test_the_triplet_loss_of_dfr_st_as_a_sum_is_that_of_all_batches_of_a_step(batch):
    method = DFRST(backbone(), num_classes=4, dimension=16, triplet_reduction="sum")
    mean = DFRST(backbone(), num_classes=4, dimension=16)
    mean.load_state_dict(method.state_dict())
    of_mean = mean.losses(batch)["triplet"]
    torch.testing.assert_close(method.losses(batch)["triplet"], 8 * of_mean)  # every one of 8 images is an anchor
    # The gradients of processes and of accumulated batches are averaged.
    method._trainer = SimpleNamespace(world_size=2, accumulate_grad_batches=3)
    torch.testing.assert_close(method.losses(batch)["triplet"], 6 * 8 * of_mean)


def test_bot_without_neck_and_triplet_is_a_plain_classifier(batch):
    method = BoT(backbone(), num_classes=4, smoothing=0, neck=False, metric_weight=0)
    pooled = method.backbone(batch["image"]).mean(dim=(2, 3))
    logits = pooled @ method.classifier.weight.T + method.classifier.bias
    losses = method.losses(batch)
    assert set(losses) == {"cross_entropy"}
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(logits, batch["label"]))
    assert method.head == (method.classifier,)
    assert method.class_modules == ("classifier",)
    method.eval()
    torch.testing.assert_close(method(batch), F.normalize(method.backbone(batch["image"]).mean(dim=(2, 3))))
    weighted = BoT(backbone(), num_classes=4, metric_weight=0.5)
    pooled = weighted.backbone(batch["image"]).mean(dim=(2, 3))
    torch.testing.assert_close(weighted.losses(batch)["triplet"], batch_hard_triplet(pooled, batch["label"]) / 2)


def test_dfr_st_options(batch):
    parts = {"dimension": 16, "parts": {"height": 2, "width": 2, "channel": 2}}
    mean, summed = (DFRST(backbone(), 4, cross_entropy_reduction=kind, **parts) for kind in ("mean", "sum"))
    summed.load_state_dict(mean.state_dict())
    losses = [method.losses(batch)["cross_entropy"] for method in (mean, summed)]
    torch.testing.assert_close(losses[1], (1 + 1 + 3 * 2) * losses[0])
    method = DFRST(backbone(), 4, embedding="before_neck", attention_reduction=8, attention_kernel=5, **parts).eval()
    network = method.network
    assert network.attention.channel.mlp[0].out_features == 512 // 8
    assert network.attention.spatial.conv.kernel_size == (5, 5)
    coarse, fine = network.maps(batch["image"])
    before = [network.coarse(coarse.mean(dim=(2, 3)))[0]]
    before += [feature for branch in network.branches for feature, _, _ in branch(fine)]
    torch.testing.assert_close(method(batch), F.normalize(torch.cat(before, dim=1)))
    for wrong in ({"embedding": "neck"}, {"cross_entropy_reduction": "max"}, {"attention_kernel": 2}):
        (key,) = wrong
        with pytest.raises(ValueError, match=f"{key} is .*, expected"):
            DFRST(backbone(), 4, **wrong)


def test_vehiclenet(batch):
    method = VehicleNet(backbone(), num_classes=4, dimension=16)
    pooled = method.backbone(batch["image"]).mean(dim=(2, 3))
    reduced = pooled @ method.reduce.weight.T + method.reduce.bias
    feature = F.batch_norm(reduced, None, None, method.bn.weight, method.bn.bias, training=True)
    logits = feature @ method.classifier.weight.T + method.classifier.bias
    losses = method.losses(batch)
    assert set(losses) == {"cross_entropy"}
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(logits, batch["label"]))
    method.eval()
    pooled = method.backbone(batch["image"]).mean(dim=(2, 3))
    torch.testing.assert_close(method(batch), F.normalize(method.bn(method.reduce(pooled))))


def test_pretrained_features_are_the_averaged_last_map(batch):
    method = PretrainedFeatures(backbone()).eval()
    expected = F.normalize(method.backbone(batch["image"]).mean(dim=(2, 3)))
    torch.testing.assert_close(method(batch), expected)


@pytest.mark.parametrize("make", [BoT, DFRST, DNDM, DNDMReleased, VehicleNet])
def test_training_reaches_every_parameter(batch, make):
    method = make(backbone(), num_classes=4)
    sum(method.losses(batch).values()).backward()
    untouched = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
    assert untouched == set()


@pytest.mark.parametrize("make", [BoT, DFRST, DNDM, DNDMReleased, VehicleNet])
def test_the_position_in_the_batch_means_nothing(batch, make):
    method = make(backbone(), num_classes=4).double()
    order = torch.randperm(8)
    shuffled = {name: value[order] for name, value in batch.items()}
    for name, loss in method.losses(batch).items():
        torch.testing.assert_close(method.losses(shuffled)[name], loss)


class Spread(torch.nn.Module):
    """A metric loss with a parameter of its own."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, features, labels):
        return self.scale * (features * labels[:, None]).square().mean()


def test_bot_with_another_metric_loss(batch):
    method = BoT(backbone(), num_classes=4, metric_loss=Spread(2.0))
    losses = method.losses(batch)
    assert set(losses) == {"cross_entropy", "metric"}
    pooled = method.backbone(batch["image"]).mean(dim=(2, 3))
    torch.testing.assert_close(losses["metric"], 2 * (pooled * batch["label"][:, None]).square().mean())
    (gradient,) = torch.autograd.grad(losses["metric"], method.metric_loss.scale)
    torch.testing.assert_close(gradient, losses["metric"] / 2)
    assert "metric_loss.scale" in dict(method.named_parameters())  # it is trained and saved with the rest


def test_modules_of_the_training_classes_are_known_by_their_type(batch):
    names = {"type": ["car", "bus"], "colour": ["red", "blue"]}
    for method, expected in (
        (BoT(backbone(), 4), {"neck.classifier"}),
        (VehicleNet(backbone(), 4), {"classifier"}),
        (DNDM(backbone(), 4), {"network.classifier"}),
        (
            AttributeGuided(backbone(), 4, names),
            {
                *("network.neck.classifier", "classifier_centers"),
                *("network.branches.0.classifier", "network.branches.1.classifier"),
            },
        ),
    ):
        assert set(method.class_modules) == expected
        before = method.eval()(batch)
        method.drop_classifier()
        assert all(name.endswith("centers") for name in method.class_modules)
        torch.testing.assert_close(method(batch), before)
