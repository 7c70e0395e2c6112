"""Mamba-Reg (ShuffleMamba-Reg when shuffled): registers spread evenly among the patches, read together by the head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models import initialisation
from slws_lab.models.config import VisionMambaConfig
from slws_lab.models.layers import norm
from slws_lab.models.residual import ResidualMamba
from slws_lab.models.sequence import insert


@dataclass(frozen=True)
class MambaRegConfig(VisionMambaConfig):
    """Everything that fixes a Mamba-Reg.

    Args:
        num_registers: Registers among the patches, which are its class tokens.
        reduce: The neck narrows each register by this factor before the head reads them all; 1 for no neck.
    """

    num_registers: int = 12
    reduce: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_registers < 1 or not 1 <= self.reduce <= self.embed_dim:
            raise UserError(f"num_registers {self.num_registers}, reduce {self.reduce}",
                            allowed="at least one register, and reduce from 1 to embed_dim")  # fmt: skip


class MambaReg(ResidualMamba):
    """Bidirectional Mamba image classifier with registers in place of a class token.

    Patches and registers have position embeddings of their own. The neck is there while the head reads registers.

    Source: Mamba-Reg (arXiv 2405.14858) and the official SLWS code, models_reg.py.
    """

    passes_tokens_on = "layers"
    linear_init = staticmethod(initialisation.trunc_normal_linear)
    config: MambaRegConfig

    def __init__(self, config: MambaRegConfig) -> None:
        super().__init__(config, class_tokens=config.num_registers)
        self.pos_embed_cls = nn.Parameter(torch.zeros_like(self.cls_token))
        self.neck, self.norm_neck = self._neck()
        self.init_weights()

    def class_tokens_at(self, num_patches: int) -> tuple[int, ...]:
        """Return where registers stand: after every so many patches, what is left over at the end."""
        run = num_patches // (self.config.num_registers + 1)
        return tuple(run + i * (run + 1) for i in range(self.config.num_registers))

    def embedded_at(self, num_patches: int) -> tuple[int, ...]:
        """Return (): positions of registers are not in `pos_embed`."""
        return ()

    @property
    def head_hidden_size(self) -> int:
        """Width of what the head reads: all registers, narrowed."""
        if self.global_pool != "token":
            return self.embed_dim
        return self.config.num_registers * (self.embed_dim // self.config.reduce)

    def tokens(self, images: Tensor) -> Tensor:
        """Return the sequence that enters the layers, (batch, num_tokens, embed_dim)."""
        patches = self.patch_embed(images) + self.pos_embed
        registers = (self.cls_token + self.pos_embed_cls).expand(len(images), -1, -1)
        return insert(patches, registers.to(patches.dtype), self.class_positions)

    def pool(self, tokens: Tensor) -> Tensor:
        """Return what the head reads of normalised tokens, (batch, num_tokens, embed_dim)."""
        if self.global_pool != "token":
            return super().pool(tokens)
        registers = torch.stack([tokens[:, position] for position in self.class_positions], dim=1)
        return self.norm_neck(self.neck(registers).flatten(1).to(tokens.dtype))  # float32 under autocast too

    def no_weight_decay(self) -> set[str]:
        """Return the names of embeddings, which weight decay leaves alone."""
        return super().no_weight_decay() | {"pos_embed_cls"}

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head, and the neck too where the head begins or ends to read registers; see `VisionMamba`."""
        before = self.global_pool
        super().reset_classifier(num_classes, global_pool)
        if before != self.global_pool:
            self.neck, self.norm_neck = (part.to(self.pos_embed) for part in self._neck())
            self.neck.apply(self.linear_init)

    def init_weights(self) -> None:
        """Initialise as the official code does: mixers keep torch's linear layers and Mamba's forward step sizes."""
        initialisation.lecun_patches(self.patch_embed.proj)
        for linear in (self.head, self.neck):
            linear.apply(self.linear_init)
        for embedding in (self.pos_embed, self.cls_token, self.pos_embed_cls):
            nn.init.trunc_normal_(embedding, std=initialisation.INIT_STD)
        initialisation.forward_steps(self)
        initialisation.scaled_out_proj(self, self.depth)

    def _neck(self) -> tuple[nn.Module, nn.Module]:
        if self.config.reduce == 1 or self.global_pool != "token":
            return nn.Identity(), nn.Identity()
        narrow = nn.Linear(self.embed_dim, self.embed_dim // self.config.reduce, bias=False)
        return narrow, norm(self.config, self.head_hidden_size)
