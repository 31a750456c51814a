import pytest
import torch
from torch import nn

from src.networks import Backbone, DNDMNetwork

LABELS = torch.tensor([0, 2, 2, 0, 1, 0])
DOMAINS = torch.tensor([0, 1, 0, 1, 1, -1])


def batch():
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=g)
    return images, (torch.rand(6, 1, 32, 32, generator=g) > 0.9).to(torch.uint8)


def network(num_classes=3, **options):
    torch.manual_seed(1)
    net = DNDMNetwork(Backbone("resnet18"), num_classes, **options).double()
    if net.classifier is not None:
        nn.init.normal_(net.classifier.weight)  # at their start, all class maps are nearly one half
    return net


@pytest.mark.parametrize(
    "options",
    [{}, {"glare": False}, {"structure_stages": (1, 3)}, {"awareness_stages": [2]}, {"alpha": 0.2, "beta": 0.1}],
)
def test_modules_sit_where_the_paper_puts_them(options):
    images, glare = batch()
    net, parts = network(**options), network(**options)
    out = net(images, DOMAINS, LABELS, glare)

    # the same, with every step written out
    x, carried = parts.backbone.begin(images)
    if options.get("glare", True):
        mask = nn.functional.max_pool2d(glare.double() * (DOMAINS == 1).view(-1, 1, 1, 1), 4)
        m = torch.sigmoid(parts.glare.projection(torch.cat([x, mask], dim=1)))
        x = x - options.get("alpha", 0.5) * m * x
    for number, stage in enumerate(parts.backbone.stages, start=1):
        x, carried = stage(x, carried)
        if number in options.get("structure_stages", (1, 2, 3, 4)):
            windows = nn.functional.unfold(x.flatten(0, 1)[:, None], 5, padding=2).view(*x.shape[:2], 25, *x.shape[2:])
            rises = (windows - x.unsqueeze(2)).relu()
            x = x + options.get("beta", 0.25) * (rises * windows).sum(2) / (1 + rises.sum(2))
        if number in options.get("awareness_stages", (1, 2, 3, 4)):
            cca = parts.awareness[str(number)]
            p = cca.project_norm(cca.project(x))
            w, b = parts.classifier.weight[LABELS], parts.classifier.bias[LABELS]
            maps = torch.sigmoid(torch.einsum("bc,bchw->bhw", w, p) + b[:, None, None]).unsqueeze(1)
            factor = torch.ones_like(maps)
            factor[0], factor[3], factor[1], factor[2] = maps[3], maps[0], maps[2], maps[1]
            x = x + cca.restore_norm(cca.restore(p * factor)).relu()
    pooled = x.mean(dim=(2, 3))
    torch.testing.assert_close(out.pooled, pooled)
    torch.testing.assert_close(out.logits, pooled @ parts.classifier.weight.T + parts.classifier.bias)


@pytest.mark.parametrize("at_test", ["none", "mean", "own"])
def test_at_test_every_stage_modulates_as_it_is_told(at_test):
    images, glare = batch()
    net = network(awareness_at_test=at_test, structure_stages=())
    with torch.no_grad():
        net(images, DOMAINS, LABELS, glare)  # moves the statistics
        net.eval()
        out = net(images, DOMAINS, glare=glare)
        x, carried = net.backbone.begin(images)
        x = net.glare(x, glare * (DOMAINS == 1).view(-1, 1, 1, 1))
        for number, stage in enumerate(net.backbone.stages, start=1):
            x, carried = stage(x, carried)
            cca = net.awareness[str(number)]
            p = cca.project_norm(cca.project(x))
            for i in range(len(p)):
                rows = zip(*net.classifier.parameters(), strict=True)
                maps = torch.stack([torch.tensordot(w, p[i], 1) + b for w, b in rows])
                own = torch.sigmoid(maps[maps.mean(dim=(1, 2)).argmax()])
                p[i] *= {"none": 1.0, "mean": cca.running_map, "own": own}[at_test]
            x = x + cca.restore_norm(cca.restore(p)).relu()
    torch.testing.assert_close(out.pooled, x.mean(dim=(2, 3)))


def test_modules_that_are_off_leave_no_parameters():
    net = network(glare=False, structure_stages=(), awareness_stages=())
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == {"backbone", "classifier"}
    images, _ = batch()
    pooled = net.eval()(images, DOMAINS).pooled
    torch.testing.assert_close(pooled, net.backbone(images).mean(dim=(2, 3)))


def test_the_order_of_the_batch_does_not_matter():
    images, glare = batch()
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    pooled = network()(images, DOMAINS, LABELS, glare).pooled
    shuffled = network()(images[order], DOMAINS[order], LABELS[order], glare[order]).pooled
    torch.testing.assert_close(shuffled, pooled[order])


def test_embeds_without_labels_and_without_a_classifier():
    images, glare = batch()
    trained = network().eval()
    bare = network(num_classes=None).eval()
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("classifier")}
    bare.load_state_dict(state)
    out = bare(images, DOMAINS, glare=glare)
    assert out.logits is None
    torch.testing.assert_close(out.pooled, trained(images, DOMAINS, LABELS, glare).pooled)


def test_day_and_unknown_images_need_no_mask():
    images, glare = batch()
    net = network().eval()
    domains = torch.tensor([0, -1, 0, 0, -1, 0])
    torch.testing.assert_close(net(images, domains).pooled, net(images, domains, glare=glare).pooled)
    with pytest.raises(ValueError, match="mask `glare` of every night image"):
        net(images, DOMAINS)


def test_every_parameter_learns():
    images, glare = batch()
    net = network(pairing="random")
    out = net(images, DOMAINS, LABELS, glare)
    (out.pooled.square().sum() + out.logits.logsumexp(dim=1).sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_works_on_any_staged_backbone():
    images, glare = batch()
    net = DNDMNetwork(Backbone("tf_efficientnet_lite0"), 3)
    assert net(images, DOMAINS, LABELS, glare).pooled.shape == (6, 1280)


def test_says_what_is_missing():
    images, glare = batch()
    with pytest.raises(ValueError, match="needs labels and a classifier in training"):
        network()(images, DOMAINS, glare=glare)
    with pytest.raises(ValueError, match="no stage 5: stages are counted from 1 to 4"):
        network(structure_stages=(1, 5))
    with pytest.raises(ValueError, match="'hrnet_w18_small' has none"):
        DNDMNetwork(Backbone("hrnet_w18_small", last_stride=2), 3)
