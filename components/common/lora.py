"""LoRA adapters (Hu et al. 2021) on a model, through peft."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    from components.train.settings import Hyperparameters

QUERY_VALUE = {"query", "value", "q_proj", "v_proj", "q_lin", "v_lin"}
OUTSIDE = ("pooler", "_global", "proj_out", "lm_head")
"""Layers the output does not pass through (BERT's pooler, Longformer's global attention), or that are the embedding
table itself (the output projection of Whisper and BART)."""


class Holder(Protocol):
    """Anything that keeps its torch module in ``model``."""

    model: Any


def targets(model: Any, kind: str) -> list[str]:
    """Full names of the linear layers that get an adapter; ``kind`` as `Hyperparameters.target_modules`."""
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(part in name for part in OUTSIDE)
    ]
    if kind == "qv":
        names = [name for name in names if name.rsplit(".", 1)[-1] in QUERY_VALUE]
    elif kind == "attention":
        names = [name for name in names if "attention" in name or "attn" in name]
    if not names:
        raise SluiceError(f"{type(model).__name__}: no linear layers for target_modules '{kind}'; use 'all'")
    return names


def add_adapter(holder: Holder, hyper: "Hyperparameters", seed: int) -> list[torch.nn.Parameter]:
    """Wrap the holder's model with a fresh adapter, seeded; returns the parameters to train, in a stable order."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=hyper.rank,
        lora_alpha=hyper.alpha,
        lora_dropout=hyper.dropout,
        target_modules=targets(holder.model, hyper.target_modules),
    )
    holder.model.set_attn_implementation("eager")  # backward of the fused kernel is 2x slower on CPUs at 128 tokens
    with _peft_on_transformers_5():
        holder.model = get_peft_model(holder.model, config)
    return [parameter for parameter in holder.model.parameters() if parameter.requires_grad]


def load_adapter(holder: Holder, directory: Path | str) -> None:
    """Wrap the holder's model with a trained adapter, in evaluation mode."""
    from peft import PeftModel

    with _peft_on_transformers_5():
        holder.model = PeftModel.from_pretrained(holder.model, str(directory)).eval()


@contextmanager
def _peft_on_transformers_5() -> Iterator[None]:
    """Keep peft's use of a property that transformers 5 renamed from warning the user, who can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's weights on the CPU, by peft's names."""
    from peft import get_peft_model_state_dict

    return {name: tensor.detach().cpu().clone() for name, tensor in get_peft_model_state_dict(model).items()}


def restore_adapter(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Put back what `adapter_state` copied."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, state)


def towards_base(state: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """The adapter whose merge lies ``share`` (0..1] of the way from the base weights to the tuned ones.

    The change is alpha / rank * B @ A, so scaling B scales it: WiSE-FT's interpolation (Wortsman et al. 2022).
    """
    return {name: value * share if "lora_B" in name else value for name, value in state.items()}


def save_adapter(holder: Holder, base_model: str, directory: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json; the config names the base model's id, not a path."""
    holder.model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base_model
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=1, sort_keys=True))
