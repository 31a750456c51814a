"""The attribute-guided network's losses put together by hand, what it embeds, and how its centres move."""

import pytest
import torch
from torch.nn import functional as F

from src.losses import batch_hard_triplet
from src.methods.attribute_guided import AttributeGuided
from src.networks import Backbone

NAMES = {"colour": ["blue", "red", "white"], "type": ["bus", "van"]}


@pytest.fixture
def batch():
    """Four identities; some colours and all types but one are known."""
    order = torch.randperm(8)
    return {
        "image": torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8),
        "label": torch.arange(4).repeat_interleave(2)[order],
        "colour": torch.tensor([0, -1, 2, 2, -1, 1, -1, 0]),
        "type": torch.tensor([1, 0, 1, -1, 0, 0, 1, 1]),
    }


def build(**options):
    return AttributeGuided(Backbone("resnet18"), 4, NAMES, dimension=16, attribute_dimension=8, **options)


def entropy_of_known(logits, wanted):
    """The mean over the samples whose label is known, one by one."""
    losses = [-row.log_softmax(dim=0)[place] for row, place in zip(logits, wanted.tolist(), strict=True) if place >= 0]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("center_on", "norm"), [("f_bn", None), ("f", 1.5)])
def test_losses(batch, center_on, norm):
    weights = {"type_weight": 0.5, "colour_weight": 2.0, "center_weight": 0.01}
    method = build(center_on=center_on, margin=0.4, norm=norm, **weights).double()
    seen = method.network(batch["image"])
    losses = method.losses(batch)
    assert set(losses) == {"cross_entropy", "triplet", "center", "type", "colour"}
    expected = F.cross_entropy(seen.logits, batch["label"])
    torch.testing.assert_close(losses["cross_entropy"], expected)
    torch.testing.assert_close(losses["triplet"], batch_hard_triplet(seen.f, batch["label"], 0.4, norm=norm))
    centred = getattr(seen, center_on)
    distances = [
        (feature - method.classifier_centers.centers[label]).square().sum()
        for feature, label in zip(centred, batch["label"].tolist(), strict=True)
    ]
    torch.testing.assert_close(losses["center"], 0.01 * sum(distances) / 8)
    for name, weight in (("type", 0.5), ("colour", 2.0)):
        torch.testing.assert_close(losses[name], weight * entropy_of_known(seen.attribute_logits[name], batch[name]))


def test_an_image_without_an_attribute_gives_that_branch_no_gradient(batch):
    method = build().double()
    seen = method.network(batch["image"])
    losses, logits = method.losses_of(seen, batch), seen.attribute_logits["colour"]
    (gradient,) = torch.autograd.grad(losses["colour"], logits, retain_graph=True)
    assert (gradient != 0).any(dim=1).tolist() == (batch["colour"] >= 0).tolist()
    (gradient,) = torch.autograd.grad(losses["cross_entropy"], seen.logits)
    assert (gradient != 0).any(dim=1).all()
    unknown = method.losses(batch | {"colour": torch.full((8,), -1)})["colour"]
    assert unknown.item() == 0
    unknown.backward()


def test_without_attributes_it_is_an_extractor(batch):
    method = build(attributes=[])
    assert set(method.losses(batch)) == {"cross_entropy", "triplet", "center"}
    method.eval()
    torch.testing.assert_close(method(batch), F.normalize(method.network(batch["image"]).f_bn))
    assert method.attribute_logits(batch) == {}
    assert AttributeGuided.needed({"attributes": []}) == frozenset()
    assert AttributeGuided.needed({"attributes": ["type"]}) == {"type"}


def test_embeddings_are_the_identitys_or_all_features_side_by_side(batch):
    method = build().eval()
    seen = method.network(batch["image"])
    torch.testing.assert_close(method(batch), F.normalize(seen.f_id))
    method.embedding = "concat"
    side_by_side = torch.cat([seen.f_id, seen.features["type"], seen.features["colour"]], dim=1)
    torch.testing.assert_close(method(batch), F.normalize(side_by_side))
    assert method(batch).shape == (8, 16 + 8 + 8)


def test_training_reaches_every_parameter_and_the_position_means_nothing(batch):
    method = build().double()
    losses = method.losses(batch)
    order = torch.randperm(8)
    shuffled = method.losses({name: value[order] for name, value in batch.items()})
    for name, loss in losses.items():
        torch.testing.assert_close(shuffled[name], loss)
    sum(losses.values()).backward()
    assert {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None} == set()


def test_a_stage_with_other_identities_takes_over_all_but_classifiers_and_centres():
    first, second = build(), build()
    second.classifier_centers.centers = torch.randn(7, 16)
    second.take_over(first.state_dict(), ["classifier"], "x.ckpt")
    taken = {name for name, value in second.state_dict().items() if torch.equal(value, first.state_dict()[name])}
    new = {name for name in first.state_dict() if "classifier" in name and "bias" not in name}
    assert set(first.state_dict()) - taken == new
    assert new == {
        "classifier_centers.centers",
        "network.neck.classifier.weight",
        "network.branches.0.classifier.weight",
        "network.branches.1.classifier.weight",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"center_on": "bn"}, r"method\.center_on is 'bn', expected f_bn or f"),
        ({"embedding": "all"}, r"method\.embedding is 'all', expected id or concat"),
        ({"attributes": ["make"]}, r"method\.attributes names 'make', expected some of type and colour"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


TWO_PROCESSES = """
import sys, torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from src.methods.attribute_guided import AttributeGuided
from src.methods.optim import Optim
from src.networks import Backbone

class Recording(AttributeGuided):
    def losses_of(self, seen, batch):
        self.features = seen.f_bn.detach().float()
        return super().losses_of(seen, batch)

    def training_step(self, batch):
        total = super().training_step(batch)
        centers = self.classifier_centers.centers.clone()
        self.record.append((self.features, batch["label"], centers))
        return total

class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 24
    def __getitem__(self, place):
        image = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(place), dtype=torch.uint8)
        return {"image": image, "label": place // 2 % 3}

torch.manual_seed(0)
method = Recording(Backbone("resnet18"), 3, {}, attributes=[], dimension=4)
method.begin_stage(Optim(torch.optim.SGD), (), {})
method.record = []
trainer = Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", precision="bf16-mixed", logger=False,
                  enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                  default_root_dir=sys.argv[1])
trainer.fit(method, DataLoader(Items(), batch_size=4))
torch.save(method.record, f"{sys.argv[1]}/rank_{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_centres_are_those_of_all_processes_and_of_full_precision(tmp_path, two_processes):
    two_processes(TWO_PROCESSES)
    one, other = (torch.load(tmp_path / f"rank_{rank}.pt") for rank in range(2))
    assert len(one) == len(other) == 3
    torch.manual_seed(0)
    start = AttributeGuided(Backbone("resnet18"), 3, {}, attributes=[], dimension=4).classifier_centers.centers
    centers = start.double()
    for (features, labels, centers_one), (other_features, other_labels, centers_other) in zip(one, other, strict=True):
        assert torch.equal(centers_one, centers_other)
        assert not torch.equal(features, other_features)
        together = list(zip([*features, *other_features], [*labels.tolist(), *other_labels.tolist()], strict=True))
        moved = centers.clone()
        for feature, label in together:  # rate 0.5 on the mean of squared distances over both batches
            moved[label] -= 0.5 * 2 * (centers[label] - feature.double()) / len(together)
        centers = moved
        torch.testing.assert_close(centers_one.double(), centers, atol=1e-5, rtol=1e-5)
