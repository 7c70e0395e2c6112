"""What fixes a Vision Mamba of any family; each family adds its own fields in its own file."""

from __future__ import annotations

from dataclasses import dataclass

from timm.layers.helpers import to_2tuple

from slws_lab.errors import UserError

POOLS = ("token", "avg", "")


@dataclass(frozen=True)
class VisionMambaConfig:
    """The fields that all families share.

    Args:
        embed_dim: Width of the tokens.
        depth: Number of blocks.
        d_state: State size of the scans.
        layer_norm: Whether the norms are LayerNorm instead of RMSNorm.
        img_size: Height and width of the images, pixels; one number for square ones.
        patch_size: Height and width of a patch, pixels.
        stride: Distance between patches, pixels; None means patch_size.
        in_chans: Channels of the images.
        num_classes: Outputs of the head; 0 for no head.
        drop_rate: Dropout of what the head reads.
        drop_path_rate: Drop-path rate of the last layer's output; earlier ones grow linearly from 0.
        scan: Name of a scan back-end, or "auto".
        global_pool: What the head reads: "token" the class tokens, "avg" the mean of the patch tokens, "" every token.

    Raises:
        UserError: If there is no layer, the images are smaller than a patch, or the pooling is unknown.
    """

    embed_dim: int
    depth: int
    d_state: int = 16
    layer_norm: bool = False
    img_size: int | tuple[int, int] = 224
    patch_size: int = 16
    stride: int | None = None
    in_chans: int = 3
    num_classes: int = 1000
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    scan: str = "auto"
    global_pool: str = "token"

    def __post_init__(self) -> None:
        if min(self.embed_dim, self.depth) < 1:
            raise UserError(f"embed_dim {self.embed_dim}, depth {self.depth}", allowed="at least 1")
        if min(self.image_shape[1:]) < self.patch_size:
            raise UserError(f"images of {self.img_size} px hold no patch of {self.patch_size} px",
                            allowed=f"a patch_size up to {min(self.image_shape[1:])}")  # fmt: skip
        if self.global_pool not in POOLS:
            raise UserError(f"unknown pooling '{self.global_pool}'", allowed="'token', 'avg', '' (none)")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        height, width = to_2tuple(self.img_size)
        return self.in_chans, height, width

    @property
    def step(self) -> int:
        """Distance between patches, pixels."""
        return self.stride or self.patch_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """Number of patches down and across."""
        _, height, width = self.image_shape
        return (height - self.patch_size) // self.step + 1, (width - self.patch_size) // self.step + 1

    @property
    def num_patches(self) -> int:
        """Number of patches of one image."""
        return self.grid_size[0] * self.grid_size[1]
