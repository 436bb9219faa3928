"""Networks of other kinds than the table's, for ./do bench --others: build(NAME) gives a module and its input's shape
without the batch. Needs python3-torch and python3-torchvision; random weights."""
import torch
import torchvision
from torch import nn

NAMES = (
    "inception_v3 convnext_tiny swin_t unet fcn_resnet50 deeplabv3_mobilenet_v3_large r3d_18 superresolution "
    "dcgan transformer lstm gru"
).split()


class Maps(nn.Module):
    """A segmentation network of torchvision less the names of its outputs."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


class UNet(nn.Module):
    """Four levels of two 3x3 convolutions; transposed convolutions on the way up."""

    def __init__(self, width):
        super().__init__()
        sizes = [width * 2**i for i in range(4)]
        self.down = nn.ModuleList(self.level(i, o) for i, o in zip([3, *sizes], sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, 2) for c in reversed(sizes[:-1]))
        self.join = nn.ModuleList(self.level(2 * c, c) for c in reversed(sizes[:-1]))
        self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(width, 2, 1)

    @staticmethod
    def level(c_in, c_out):
        layers = []
        for c in (c_in, c_out):
            layers += nn.Conv2d(c, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
        return nn.Sequential(*layers)

    def forward(self, x):
        maps = []
        for i, level in enumerate(self.down):
            x = level(self.pool(x) if i else x)
            maps.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(maps[:-1])):
            x = join(torch.cat((skip, up(x)), 1))
        return self.head(x)


class Block(nn.Module):
    """Self-attention and two dense layers, each with a residual and a normalisation before it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        n, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        scores = torch.softmax(q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5, -1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class Recurrent(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers, self.head = layers, nn.Linear(256, 40)

    def forward(self, x):
        return self.head(self.layers(x)[0])


def superresolution():
    channels = (1, 64, 64, 32)
    layers = []
    for i, o, k in zip(channels, channels[1:], (5, 3, 3)):
        layers += nn.Conv2d(i, o, k, padding=k // 2), nn.ReLU()
    return nn.Sequential(*layers, nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3))


def dcgan():
    channels = (100, 512, 256, 128, 64)
    layers = []
    for i, (c_in, c_out) in enumerate(zip(channels, channels[1:])):
        layers += nn.ConvTranspose2d(c_in, c_out, 4, 2 if i else 1, 1 if i else 0, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())


def build(name):
    bare = {"weights": None}
    if name == "inception_v3":
        return torchvision.models.inception_v3(**bare, aux_logits=False, init_weights=False), (3, 299, 299)
    if name in ("convnext_tiny", "swin_t"):
        return getattr(torchvision.models, name)(**bare), (3, 224, 224)
    if name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large"):
        network = getattr(torchvision.models.segmentation, name)(**bare, weights_backbone=None)
        return Maps(network), (3, 256, 256)
    return {
        "unet": lambda: (UNet(32), (3, 256, 256)),
        "r3d_18": lambda: (torchvision.models.video.r3d_18(**bare), (3, 8, 112, 112)),
        "superresolution": lambda: (superresolution(), (1, 224, 224)),
        "dcgan": lambda: (dcgan(), (100, 1, 1)),
        "transformer": lambda: (nn.Sequential(*(Block(384, 6) for _ in range(6)), nn.LayerNorm(384)), (128, 384)),
        "lstm": lambda: (Recurrent(nn.LSTM(80, 256, 2, batch_first=True)), (100, 80)),
        "gru": lambda: (Recurrent(nn.GRU(80, 256, 2, batch_first=True)), (100, 80)),
    }[name]()
