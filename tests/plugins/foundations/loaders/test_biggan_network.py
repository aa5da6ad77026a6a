"""The generator against an independent, plain formulation of the published one."""

import numpy as np
import torch
import torch.nn.functional as F
from mini_biggan import INFO, MINI, random_biggan, write_folder

from benchbench_plugins.generators.biggan.layout import BigGANConfig
from benchbench_plugins.generators.biggan.network import BigGANGenerator, open_biggan, upsampling_kernel


def published_forward(state: dict, z: torch.Tensor, y: torch.Tensor, bottom_width: int) -> torch.Tensor:
    """The generator in eval mode, step by step in float64, from the names of a checkpoint alone."""
    s = {name: value.double() for name, value in state.items()}

    def weight(name):
        w, u = s[f"{name}.weight"], s[f"{name}.u0"][0]
        rows = w.reshape(len(w), -1)
        v = rows.T @ u
        v = v / v.norm()
        u = rows @ v
        u = u / u.norm()
        return w / (u @ rows @ v)

    def conditional(x, name):
        mean, var = s[f"{name}.stored_mean"], s[f"{name}.stored_var"]
        out = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return out * (1 + s[f"{name}.gain.weight"][y][:, :, None, None]) + s[f"{name}.bias.weight"][y][:, :, None, None]

    def conv(x, name):
        w = weight(name)
        return F.conv2d(x, w, s[f"{name}.bias"], padding=w.shape[-1] // 2)

    def twice(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = (z.double() @ weight("linear").T + s["linear.bias"]).reshape(len(z), -1, bottom_width, bottom_width)
    for i in range(sum(name.endswith("conv1.bias") for name in s)):
        b = f"blocks.{i}.0"
        inner = conv(twice(conditional(h, f"{b}.bn1").relu()), f"{b}.conv1")
        inner = conv(conditional(inner, f"{b}.bn2").relu(), f"{b}.conv2")
        h = inner + conv(twice(h), f"{b}.conv_sc")
    o = "output_layer.0"
    h = F.batch_norm(h, s[f"{o}.stored_mean"], s[f"{o}.stored_var"], s[f"{o}.gain"], s[f"{o}.bias"], eps=1e-5)
    return conv(h.relu(), "output_layer.2").tanh()


def drawn(config, count=5):
    g = torch.Generator().manual_seed(1)
    return torch.randn(count, config.dim_z, generator=g), torch.arange(count) % config.n_classes


def test_the_whole_architecture_has_the_published_size_and_names():
    for classes, parameters in ((10, 4_304_387), (100, 4_580_867)):
        config = BigGANConfig(n_classes=classes)
        with torch.device("meta"):
            model = BigGANGenerator(config)
        assert sum(weight.numel() for weight in model.parameters()) == parameters
        found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        assert len(found) == 72
        assert found == config.shapes()
        assert config.resolution == 32
        assert found["blocks.2.0.bn2.gain.weight"] == (classes, 256)
        assert found["linear.u0"] == (1, 4096)
        assert found["output_layer.2.weight"] == (3, 256, 3, 3)


def test_eval_mode_equals_the_plain_formulation_and_leaves_the_buffers_alone():
    model = random_biggan()
    z, y = drawn(MINI)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = model(z, y)
    expected = published_forward(model.state_dict(), z, y, MINI.bottom_width)
    assert made.shape == (5, 3, 16, 16)
    assert float(expected.std()) > 0.1  # an output that hardly varies would agree with anything
    np.testing.assert_allclose(made.numpy(), expected.numpy(), atol=2e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_computed_once_gives_the_same_and_passes_gradients_to_the_latents(tmp_path):
    model = random_biggan()
    z, y = drawn(MINI)
    opened = open_biggan(write_folder(model, tmp_path / "ab", ("a", "b")), "it", INFO)
    inputs = [z.clone().requires_grad_() for _ in range(2)]
    outputs = [opened(inputs[0], y), model(inputs[1], y)]
    torch.testing.assert_close(outputs[0], outputs[1], atol=2e-5, rtol=0)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-4, rtol=1e-3)
    swapped = open_biggan(write_folder(model, tmp_path / "ba", ("b", "a")), "it", INFO)(z, 1 - y)
    torch.testing.assert_close(swapped, outputs[0], atol=0, rtol=0)
    assert float((opened(z, 1 - y) - outputs[0]).detach().abs().max()) > 0.1


def test_the_transposed_kernel_enlarges_then_convolves():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 7, generator=g, dtype=torch.float64)
    w = torch.randn(4, 3, 3, 3, generator=g, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(x, scale_factor=2), w, padding=1)
    made = F.conv_transpose2d(x, upsampling_kernel(w), stride=2, padding=1)
    torch.testing.assert_close(made, expected, atol=1e-12, rtol=0)


def test_training_mode_moves_the_spectral_estimate_towards_the_largest_singular_value():
    model = random_biggan()
    layer = model.linear.train()
    layer.u0.normal_(generator=torch.Generator().manual_seed(4))
    largest = float(torch.linalg.matrix_norm(layer.weight, 2))
    first = float(layer.weight.flatten()[0] / layer.normalised().flatten()[0])
    for _ in range(200):
        layer.normalised()
    last = float(layer.sv0)
    assert first < last
    assert abs(last - largest) < 1e-3 * largest
