"""TransReID's network against one written out token by token."""

import pytest
import torch
from torch import nn

from src.methods.transreid import TransReID
from src.networks import Backbone, TransReIDNetwork

TINY = "vit_tiny_patch16_224"
CLASSES = 3


def images(size=48, count=4):
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(2)).double()


def network(**options):
    torch.manual_seed(1)
    made = TransReIDNetwork(Backbone(TINY, image_size=48, patch_stride=12), CLASSES, **options).double()
    for name, parameter in made.named_parameters():
        if "token" in name or "pos_embed" in name or "table" in name:
            nn.init.normal_(parameter, std=0.3)
        if "jigsaw" in name:  # training has led the branches apart
            parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def plainly(net, x, camera, view, shift, groups, parts, views, weight):
    """Features before the necks, of the whole and of the parts."""
    model = net.backbone.stem.model
    x = net.backbone.normalise(x)
    patches = model.patch_embed.proj(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([model.cls_token.expand(len(x), -1, -1), patches], dim=1) + model.pos_embed
    side = []
    for r, q in zip(camera.tolist(), view.tolist(), strict=True):
        known = r >= 0 and q >= 0
        side.append(net.side.table[r * views + q] if known else torch.zeros_like(net.side.table[0]))
    tokens = tokens + weight * torch.stack(side)[:, None]
    blocks = [block for stage in net.backbone.stages for block in stage.blocks]
    for block in blocks[:-1]:
        tokens = block(tokens)
    norm = net.backbone.stages[-1].norm
    features = [norm(blocks[-1](tokens))[:, 0]]
    order = list(range(1, tokens.shape[1]))
    length = len(order) // parts
    order = order[shift:] + order[:shift]
    while len(order) % groups:
        order.append(order[-2])
    side_by_side = [order[g * (len(order) // groups) : (g + 1) * (len(order) // groups)] for g in range(groups)]
    order = [place for places in zip(*side_by_side, strict=True) for place in places]
    for part in range(parts):
        piece = tokens[:, [0, *order[length * part : length * (part + 1)]]]
        features.append(net.jigsaw.layer[1](net.jigsaw.layer[0](piece))[:, 0])
    return features


@pytest.mark.parametrize(("shift", "groups", "parts"), [(5, 2, 4), (2, 3, 2)])
def test_both_branches_written_out(shift, groups, parts):
    options = {"shift": shift, "groups": groups, "parts": parts}
    net = network(**options, side_counts=(3, 4), side_weight=2.0)
    camera, view = torch.tensor([0, 2, 1, -1]), torch.tensor([3, 0, 2, 1])
    out = net(images(), (camera, view))
    expected = plainly(net, images(), camera, view, **options, views=4, weight=2.0)
    assert len(out.features) == parts + 1
    for ours, theirs in zip(out.features, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    parameters = [p for p in net.parameters() if p.requires_grad]
    ours, theirs = (
        torch.autograd.grad(sum((f**3).sum() for f in features), parameters, allow_unused=True)
        for features in (out.features, expected)
    )
    for gradient, other in zip(ours, theirs, strict=True):
        assert (gradient is None) == (other is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, other)


def test_without_jigsaw_it_is_the_class_token():
    net = network(jigsaw=False).eval()
    out = net(images())
    _, carried = net.backbone.features(images())
    assert len(out.features) == 1
    torch.testing.assert_close(out.features[0], carried.prefix[:, 0])
    torch.testing.assert_close(out.logits[0], net.necks[0](carried.prefix[:, 0])[1])


def test_the_branches_start_with_the_same_weights_of_their_own():
    net = TransReIDNetwork(Backbone(TINY), CLASSES)
    last = net.backbone.stages[-1].last_layer
    for ours, copied in zip(last, net.jigsaw.layer, strict=True):
        for a, b in zip(ours.parameters(), copied.parameters(), strict=True):
            torch.testing.assert_close(a, b)
            assert a is not b


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "'resnet18' is none; choose backbone=vit_base"),
        ("vit_medium_patch16_gap_256", "is none; choose backbone=vit_base"),
        ("eva02_tiny_patch14_224", "pass method.jigsaw=false"),
    ],
)
def test_networks_that_do_not_fit(name, message):
    with pytest.raises(ValueError, match=message):
        TransReIDNetwork(Backbone(name), CLASSES)


def test_rotary_embeddings_without_jigsaw():
    net = TransReIDNetwork(Backbone("eva02_tiny_patch14_224"), CLASSES, jigsaw=False).eval()
    x = images(56).float()
    _, carried = net.backbone.features(x)
    torch.testing.assert_close(net(x).features[0], carried.prefix[:, 0])


def batch():
    camera = torch.tensor([0, 1, 0, 2])
    return {
        "image": images(),
        "label": torch.tensor([0, 0, 1, 1]),
        "camera": camera,
        "view": torch.tensor([1, 0, 0, 1]),
    }


def method(**options):
    torch.manual_seed(3)
    names = {"camera": ["a 1", "a 2", "a 3"], "view": ["0", "1"]}
    return TransReID(Backbone(TINY, image_size=48), CLASSES, names, **options).double()


def soft_triplet(features, labels, squared):
    total = 0.0
    for i in range(len(labels)):
        distances = ((features - features[i]) ** 2).sum(dim=1)
        distances = distances if squared else distances.sqrt()
        positive = max(distances[j] for j in range(len(labels)) if j != i and labels[j] == labels[i])
        negative = min(distances[j] for j in range(len(labels)) if labels[j] != labels[i])
        total += torch.log(1 + torch.exp(positive - negative))
    return total / len(labels)


@pytest.mark.parametrize(
    "options", [{}, {"squared": False, "whole_weight": 0.5, "parts_weight": 0.5}, {"jigsaw": False, "side": ["camera"]}]
)
def test_losses_of_the_paper_and_of_the_released_code(options):
    made = method(**options)
    data = batch()
    seen = made.losses(data)
    out = made.network(data["image"], [data[kind] for kind in made.side])
    entropies = [nn.functional.cross_entropy(logits, data["label"]) for logits in out.logits]
    triplets = [soft_triplet(f, data["label"], options.get("squared", True)) for f in out.features]
    expected = options.get("whole_weight", 1.0) * (entropies[0] + triplets[0])
    if options.get("jigsaw", True):
        expected = expected + options.get("parts_weight", 1.0) * sum(entropies[1:] + triplets[1:]) / 4
    torch.testing.assert_close(sum(seen.values()), expected)


def test_the_embedding_is_all_features_one_behind_the_other():
    made = method(parts_scale=0.25).eval()
    data = batch()
    out = made.network(data["image"], [data["camera"], data["view"]])
    expected = torch.cat([out.features[0], *(f / 4 for f in out.features[1:])], dim=1)
    torch.testing.assert_close(made.embed(data), expected)
    after = method(embedding="after_neck").eval()
    torch.testing.assert_close(after.embed(data), torch.cat(after.network(*_inputs(data)).embedded, dim=1))


def _inputs(data):
    return data["image"], [data["camera"], data["view"]]


def test_images_of_unknown_cameras_add_nothing():
    made = method().eval()
    data = batch()
    alone = {"image": data["image"]}
    unknown = data | {"camera": torch.full((4,), -1)}
    torch.testing.assert_close(made.embed(alone), made.embed(unknown))
    assert not torch.allclose(made.embed(alone), made.embed(data))
    nowhere = TransReID(Backbone(TINY, image_size=48), CLASSES, {"camera": [], "view": []}).double().eval()
    assert nowhere.network.side.table is None
    assert nowhere.embed(data).shape == (4, 5 * 192)


def test_wrong_side_information_is_named():
    with pytest.raises(ValueError, match="side names 'colour', expected camera, view"):
        method(side=["colour"])


def test_random_weights_learn_four_images_by_heart():
    made = method().float().train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-4)
    data = batch() | {"image": images().float()}
    seen = []
    for _ in range(12):
        loss = sum(made.losses(data).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.2 * seen[0]
