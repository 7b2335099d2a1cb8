"""A trainer whose FSDP is real, on CPUs.

Transformers and accelerate shard on accelerators only: on CPUs `fsdp=True` trains with DDP, without a word.
The sharding itself is PyTorch's and runs on CPUs over gloo; what stands in front of it is taken away here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FullStateDictConfig, FullyShardedDataParallel, StateDictType
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from transformers import Trainer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


class CpuFsdpTrainer(Trainer):
    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        # accelerate asks for an accelerator
        state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
        self.is_fsdp_enabled = True

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        if self.accelerator.state.fsdp_plugin.fsdp_version == 1:
            # accelerate would ask for the device cpu:0, which FSDP takes for another one than cpu
            policy = partial(transformer_auto_wrap_policy, transformer_layer_cls={LlamaDecoderLayer})
            self.model = FullyShardedDataParallel(
                self.model, auto_wrap_policy=policy, use_orig_params=True, device_id=torch.device("cpu")
            )
            self.model_wrapped = self.model
        return super()._prepare_for_training(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if self.accelerator.state.fsdp_plugin.fsdp_version == 1:
            # FSDP1 moves whole weights "to the CPU" and frees what it moved: on a CPU, the same memory
            config = FullStateDictConfig(offload_to_cpu=False, rank0_only=False)
            with FullyShardedDataParallel.state_dict_type(self.model, StateDictType.FULL_STATE_DICT, config):
                self._save(
                    output_dir, {name: value.clone() for name, value in self.model.state_dict().items()}
                )
        else:
            super().save_model(output_dir, _internal_call)


def fsdp_arguments(version: int) -> dict[str, Any]:
    config: dict[str, Any] = {"version": version, "transformer_layer_cls_to_wrap": "LlamaDecoderLayer"}
    if version == 1:
        config["sync_module_states"] = False  # it would look for an accelerator
        config["state_dict_type"] = "SHARDED_STATE_DICT"  # see save_model
    return {"fsdp": True, "fsdp_config": config}
