"""ResNet-50 against torchvision's own: names, sizes, numbers; the Caffe layout against torchvision's with its strides moved."""
import pytest
import torch
import torchvision
from torch import nn

from affect_nb.models.backbones import TAPS
from affect_nb.models.resnet import ResNet50


def torchvisions(caffe=False):
    "torchvision's network without its classifier, in evaluation mode, with statistics that are not those of a new network."
    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    model.fc = nn.Identity()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, .1), layer.running_var.uniform_(.5, 1.5)
            nn.init.uniform_(layer.weight, .3, .6), nn.init.normal_(layer.bias, 0, .1)
    if caffe:
        model.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for stage in (model.layer2, model.layer3, model.layer4): stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model.eval()


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"): ours, theirs = ResNet50(), torchvision.models.resnet50()
    theirs = {name: tensor.shape for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == theirs
    assert sum(parameter.numel() for parameter in ours.parameters()) == 23_508_032


@pytest.mark.parametrize("caffe", [False, True])
@pytest.mark.parametrize("size", [96, 224])
def test_numbers_are_torchvisions(size, caffe):
    theirs, ours = torchvisions(caffe), ResNet50(caffe=caffe).eval()
    ours.load_state_dict(theirs.state_dict())
    faces = torch.rand(1, 3, size, size)*2 - 1
    with torch.no_grad(): features, expected = ours(faces)["last-pool"].flatten(1), theirs(faces)
    assert expected.std() > .01
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("caffe", [False, True])
def test_taps_have_the_shapes_they_promise(caffe):
    with torch.device("meta"): model, faces = ResNet50(taps=TAPS, caffe=caffe), torch.empty(5, 3, 96, 96)
    found = {tap: tuple(feature.shape[1:]) for tap, feature in model(faces).items()}
    assert found == {"2nd-pool": (256, 24, 24), "last-conv": (2048, 3, 3), "last-pool": (2048, 1, 1)}
    assert found == {tap: model.tap_shape(tap) for tap in TAPS}
    for size in (33, 50, 95, 112, 224):
        with torch.device("meta"): features = model(torch.empty(2, 3, size, size))
        assert all(tuple(feature.shape[1:]) == model.tap_shape(tap, size) for tap, feature in features.items())


def test_width_scales_every_stage():
    model = ResNet50(width=.25, taps=("2nd-pool", "last-conv"))
    assert model.channels == (16, 64, 128, 256, 512)
    assert [tuple(feature.shape) for feature in model(torch.zeros(2, 3, 64, 64)).values()] == [(2, 64, 16, 16), (2, 512, 2, 2)]


def test_unknown_taps_are_refused_by_name():
    with pytest.raises(ValueError, match="3rd-pool.*last-conv"): ResNet50(taps=("last-pool", "3rd-pool"))
    with pytest.raises(ValueError, match="one of"): ResNet50(taps=())
    with pytest.raises(ValueError, match="'fc'"): ResNet50(.125).tap_shape("fc")
