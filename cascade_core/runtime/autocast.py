"""Parts that stay in float32 where a model computes in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def in_float32(device: torch.device) -> AbstractContextManager[None]:
    """Return a context without autocast; a plain one where there is none, as exported graphs know no autocast."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
