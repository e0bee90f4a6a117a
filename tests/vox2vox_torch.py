"""The layers of Vox2Vox in PyTorch, from their description: what the Keras layers must agree with.

NumPy draws the weights. Run as a script, with PyTorch, it prints the values that are compared where there is none.
"""

from itertools import pairwise

import numpy as np

STRIDES = {"isotropic": (2, 2, 2, 2), "anisotropic": (1, 1, 1, 1)}
SHAPES = {"isotropic": (48, 48, 48), "anisotropic": (3, 48, 64)}


def drawn(shapes, seed):
    """Weights of given shapes, of such a size that neither vanishes nor explodes what passes through them."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32) for shape in shapes]


def volume(kind, channels, seed):
    return np.random.default_rng(seed).normal(size=(1, channels, *SHAPES[kind])).astype(np.float32)


def networks(kind, inputs, outputs, width):
    """Build generator and discriminator, weights drawn; softmax at the end of the generator."""
    import torch
    from torch import nn
    from torch.nn.functional import pad

    strides = STRIDES[kind]

    def of(level):
        z = strides[level]
        kernel, padding = ((4, 4, 4), 1) if z == 2 else ((3, 4, 4), 1)
        return kernel, (z, 2, 2), padding

    low = (1, 0, 1, 0, 1, 0) if strides[-1] == 2 else (1, 0, 1, 0, 0, 0)
    bottom_kernel = of(3)[0]

    class Down(nn.Module):
        def __init__(self, n_in, n_out, level, norm, bias):
            super().__init__()
            kernel, stride, padding = of(level)
            self.conv = nn.Conv3d(n_in, n_out, kernel, stride, padding, bias=bias)
            self.norm = nn.InstanceNorm3d(n_out, eps=1e-5) if norm else nn.Identity()

        def forward(self, x):
            return nn.functional.leaky_relu(self.norm(self.conv(x)), 0.2)

    class Bottom(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.conv = nn.Conv3d(2 * n_in, n_out, bottom_kernel, 1, 1, bias=False)
            self.norm, self.drop = nn.InstanceNorm3d(n_out, eps=1e-5), nn.Dropout(0.2)

        def forward(self, x):
            x = self.norm(self.conv(torch.cat([x, x], 1)))
            return pad(self.drop(nn.functional.leaky_relu(x, 0.2)), low)

    class Up(nn.Module):
        def __init__(self, n_in, n_out, level):
            super().__init__()
            kernel, stride, padding = of(level)
            self.conv = nn.ConvTranspose3d(n_in, n_out, kernel, stride, padding, bias=False)
            self.norm = nn.InstanceNorm3d(n_out, eps=1e-5)

        def forward(self, x, across):
            return torch.cat([nn.functional.relu(self.norm(self.conv(x))), across], 1)

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            w = [width, 2 * width, 4 * width, 8 * width]
            self.down = nn.ModuleList(
                [Down(n, m, k, k > 0, False) for k, (n, m) in enumerate(pairwise([inputs, *w]))]
            )
            self.bottom = nn.ModuleList(
                [Bottom(w[3], w[3]), Bottom(w[3], w[3]), Bottom(w[3], w[3]), Bottom(w[3], w[2])]
            )
            self.up = nn.ModuleList([Up(w[2], w[2], 3), Up(2 * w[2], w[1], 2), Up(2 * w[1], w[0], 1)])
            kernel, stride, padding = of(0)
            self.last = nn.ConvTranspose3d(2 * w[0], outputs, kernel, stride, padding)

        def forward(self, x):
            kept = []
            for layer in self.down:
                x = layer(x)
                kept.append(x)
            for layer in self.bottom:
                x = layer(x)
            for layer, across in zip(self.up, (kept[2], kept[1], kept[0]), strict=True):
                x = layer(x, across)
            return torch.softmax(self.last(x), 1)

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            w = [inputs + outputs, width, 2 * width, 4 * width, 8 * width]
            self.down = nn.ModuleList([Down(n, m, k, k > 0, True) for k, (n, m) in enumerate(pairwise(w))])
            self.last = nn.Conv3d(w[4], 1, bottom_kernel, 1, 1, bias=False)

        def forward(self, a, b):
            x = torch.cat([a, b], 1)
            for layer in self.down:
                x = layer(x)
            return self.last(pad(x, low))

    made = Generator().eval(), Discriminator().eval()
    for seed, network in enumerate(made):
        parameters = list(network.parameters())
        for parameter, value in zip(parameters, drawn([p.shape for p in parameters], seed), strict=True):
            parameter.data = torch.from_numpy(value)
    return made


def said(kind, inputs=2, outputs=3, width=2):
    """What the two networks say of a volume, as NumPy arrays with channels last."""
    import torch

    generator, discriminator = networks(kind, inputs, outputs, width)
    a, b = torch.from_numpy(volume(kind, inputs, 10)), torch.from_numpy(volume(kind, outputs, 11))
    with torch.no_grad():
        return [np.moveaxis(x.numpy(), 1, -1) for x in (generator(a), discriminator(a, b))]


def probed(array, n=12):
    """Some values of an array, spread over it."""
    return array.ravel()[np.linspace(0, array.size - 1, n).astype(int)]


if __name__ == "__main__":
    for kind in STRIDES:
        for array in said(kind):
            print(kind, array.shape, np.array2string(probed(array), separator=", ", precision=8))
