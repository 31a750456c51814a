import pytest
import torch
from torch import nn

from src.networks import Backbone, ReleasedDNDM

LABELS = torch.tensor([0, 2, 2, 0, 1, 0])
DOMAINS = torch.tensor([0, 1, 0, 1, 1, 0])


def batch():
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=g)
    return images, (torch.rand(6, 1, 32, 32, generator=g) > 0.9).to(torch.uint8)


def network(**options):
    torch.manual_seed(1)
    net = ReleasedDNDM(Backbone("resnet18"), 3, **options).double()
    for linear in (*net.projections, net.neck.classifier):
        nn.init.normal_(linear.weight, std=0.1)
    nn.init.normal_(net.night_stem.conv1.weight, std=0.1)
    return net


def written_out(net, images, glare, through_night, partners_of):
    """The authors' computation, with a class map for every class and loops over the samples."""
    x = net.backbone.normalise(images)
    day, night = [i for i in range(6) if not through_night[i]], [i for i in range(6) if through_night[i]]
    features = {**dict(zip(day, net.backbone.stem(x[day])[0], strict=True))}
    features |= dict(zip(night, net.night_stem(x[night])[0], strict=True))
    x = torch.stack([features[i] for i in range(6)])
    mask = glare.double() * torch.tensor(through_night).view(-1, 1, 1, 1)
    for _ in range(2):
        mask = nn.functional.max_pool2d(mask, 3, stride=2, padding=1)
    gate = torch.sigmoid(net.gate(torch.cat([x, mask], 1).permute(0, 2, 3, 1)).relu()).permute(0, 3, 1, 2)
    x = x - 0.5 * gate * x
    for stage, projection in zip(net.backbone.stages, net.projections, strict=True):
        x, _ = stage(x)
        kernel = torch.ones(x.shape[1], 1, 5, 5, dtype=x.dtype)
        kernel[:, :, 2, 2] = -24
        x = 0.9 * x + 0.25 * nn.functional.conv2d(x, kernel, padding=2, groups=x.shape[1]).relu() / 24
        scores = net.neck.classifier(projection(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        maps = torch.stack([scores[i, scores[i].mean(dim=(1, 2)).argmax()].relu().sigmoid() for i in range(6)])
        new = []
        for i in range(6):
            if partners_of is None:
                new.append(x[i] + 0.1 * maps[i] * x[i])
            else:
                others = [maps[j] for j in partners_of[i]]
                received = sum(others) / len(others) if others else 0.0
                new.append(x[i] + 0.05 * x[i] * received + 0.05 * x[i] * maps[i])
        x = torch.stack(new)
    return (x**3).mean(dim=(2, 3)).add(1e-12) ** (1 / 3), gate


def test_training_equals_the_computation_written_out():
    images, glare = batch()
    net, parts = network(), network()
    out = net(images, DOMAINS, LABELS, glare)
    partners_of = [[3], [2], [1], [0, 5], [], [3]]
    pooled, gate = written_out(parts, images, glare, [bool(d) for d in DOMAINS], partners_of)
    torch.testing.assert_close(out.pooled, pooled)
    torch.testing.assert_close(out.gate, gate)
    embedded = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(out.embedded, embedded)
    torch.testing.assert_close(out.logits, embedded @ parts.neck.classifier.weight.T)


@pytest.mark.parametrize("swap", [False, True])
def test_testing_equals_the_computation_written_out(swap):
    images, glare = batch()
    net = network(swap_stems=swap).eval()
    out = net(images, DOMAINS, glare=glare)
    pooled, gate = written_out(net, images, glare, [bool(d) != swap for d in DOMAINS], None)
    torch.testing.assert_close(out.pooled, pooled)
    torch.testing.assert_close(out.gate, gate)


def test_swapping_does_not_concern_training():
    images, glare = batch()
    torch.testing.assert_close(
        network(swap_stems=True)(images, DOMAINS, LABELS, glare).pooled,
        network()(images, DOMAINS, LABELS, glare).pooled,
    )


def test_a_batch_of_one_domain_passes_one_stem():
    images, glare = batch()
    net = network().eval()
    both = net(images, DOMAINS, glare=glare).pooled
    torch.testing.assert_close(
        net(images[DOMAINS == 1], DOMAINS[DOMAINS == 1], glare=glare[DOMAINS == 1]).pooled, both[DOMAINS == 1]
    )
    torch.testing.assert_close(net(images[DOMAINS == 0], DOMAINS[DOMAINS == 0]).pooled, both[DOMAINS == 0])


def authors_checkpoint(net):
    """What the authors' code saves, with everything their network holds and never uses."""
    state = net.state_dict()
    theirs = {
        "LSM.fc.weight": state["gate.weight"],
        "classifier.weight": state["neck.classifier.weight"],
        **{name.replace("neck.bn", "bottleneck"): v for name, v in state.items() if name.startswith("neck.bn.")},
        **{f"classifier{s}.weight": state[f"projections.{s - 1}.weight"] for s in (1, 2, 3, 4)},
    }
    for name, value in state.items():
        if name.startswith("backbone.stem."):
            theirs[name.replace("backbone.stem", "visible_module.visible")] = value
        elif name.startswith("night_stem."):
            theirs[name.replace("night_stem", "thermal_module.thermal")] = value
        elif name.startswith("backbone.stages."):
            theirs["base_resnet.base." + name.split(".", 3)[3]] = value
    unused = ["demo.conv1_1.weight", "NL_2.0.g.0.weight", "NL_3.2.W.1.bias", "thermal_module.kernel"]
    unused += ["visible_module.visible.layer1.0.conv1.weight", "thermal_module.thermal.layer4.0.bn1.bias"]
    unused += ["base_resnet.base.conv1.weight", "base_resnet.base.bn1.running_mean"]
    return {**theirs, **{name: torch.zeros(1) for name in unused}}


def test_loads_the_authors_checkpoint(tmp_path):
    images, glare = batch()
    trained, fresh = network().eval(), ReleasedDNDM(Backbone("resnet18"), 3).double().eval()
    torch.save({"net": authors_checkpoint(trained), "cmc": 0.7, "epoch": 40}, tmp_path / "best.t")
    fresh.load_released(tmp_path / "best.t")
    torch.testing.assert_close(fresh(images, DOMAINS, glare=glare), trained(images, DOMAINS, glare=glare))


def test_names_what_does_not_fit_the_checkpoint(tmp_path):
    state = authors_checkpoint(network())
    torch.save({"net": {**state, "head.weight": torch.zeros(1)}}, tmp_path / "more.t")
    with pytest.raises(ValueError, match=r"more.t is no checkpoint .* 1 unknown here \(head.weight\)"):
        network().load_released(tmp_path / "more.t")
    torch.save({"net": {name: v for name, v in state.items() if name != "LSM.fc.weight"}}, tmp_path / "less.t")
    with pytest.raises(ValueError, match=r"with 3 identities: 1 missing \(gate.weight\)"):
        network().load_released(tmp_path / "less.t")
    torch.save({"net": {**state, "classifier.weight": torch.zeros(9, 512)}}, tmp_path / "other.t")
    with pytest.raises(ValueError, match=r"1 of another shape \(neck.classifier.weight "):
        network().load_released(tmp_path / "other.t")


def test_says_what_is_missing():
    images, glare = batch()
    with pytest.raises(ValueError, match="needs labels; got none"):
        network()(images, DOMAINS, glare=glare)
    with pytest.raises(ValueError, match="night stem needs the mask `glare`"):
        network()(images, DOMAINS, LABELS)
    with pytest.raises(ValueError, match="'hrnet_w18_small' has none"):
        ReleasedDNDM(Backbone("hrnet_w18_small", last_stride=2), 3)
    with pytest.raises(ValueError, match="networks of maps alone, not 'vit_tiny_patch16_224'"):
        ReleasedDNDM(Backbone("vit_tiny_patch16_224"), 3)
