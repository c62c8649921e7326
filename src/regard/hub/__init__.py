"""Models of `transformers` on Regard's attention: `attn_implementation="regard"` after `import regard.hub`."""

try:
    from transformers import AttentionInterface, AttentionMaskInterface
except ImportError as error:
    raise ImportError("regard.hub needs transformers: pip install 'regard[hub]'") from error

from regard.hub.adopt import NAME, adopt
from regard.hub.attention import attention
from regard.hub.looker import Looker
from regard.hub.masks import mask
from regard.hub.timestamps import token_timestamps

AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, mask)

__all__ = ["NAME", "Looker", "adopt", "attention", "mask", "token_timestamps"]
