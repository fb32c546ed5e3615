"""Writes a checkpoint of random weights in the shape of Llama-2-7B: 13.5 GB of bf16 in shards, for any_size.sh.

    python3 benches/large_checkpoint.py DIR [LAYERS]

Needs nothing but Python. Matrices are cut from one random block of 64 MiB, each from another place: nothing depends on them being
independent, and drawing every number would take longer than the benchmark. |w| is from 2^-7 to 2^-5, which keeps 32 blocks finite.
"""

import json
import os
import random
import sys
from pathlib import Path

HIDDEN, INTERMEDIATE, HEADS, VOCAB = 4096, 11008, 32, 32000
BLOCKS_PER_SHARD = 4
SEQUENCES, LENGTH = 4, 64
ONE = b"\x80\x3f"


def block_tensors(layer):
    names = {
        "input_layernorm": [HIDDEN],
        "post_attention_layernorm": [HIDDEN],
        "self_attn.q_proj": [HIDDEN, HIDDEN],
        "self_attn.k_proj": [HIDDEN, HIDDEN],
        "self_attn.v_proj": [HIDDEN, HIDDEN],
        "self_attn.o_proj": [HIDDEN, HIDDEN],
        "mlp.gate_proj": [INTERMEDIATE, HIDDEN],
        "mlp.up_proj": [INTERMEDIATE, HIDDEN],
        "mlp.down_proj": [HIDDEN, INTERMEDIATE],
    }
    return {f"model.layers.{layer}.{name}.weight": shape for name, shape in names.items()}


def noise():
    """64 MiB of bf16: sign and mantissa random, exponent one of two."""
    block = bytearray(os.urandom(64 << 20))
    high = bytes(0xBC if byte & 1 else 0x3C for byte in range(256))
    block[1::2] = bytes(block[1::2]).translate(high)
    return memoryview(bytes(block) * 2)


def write_shard(path, tensors, block, draw):
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, shape in tensors.items():
            begin, stop = header[name]["data_offsets"]
            left = stop - begin
            if len(shape) == 1:
                file.write(ONE * shape[0])
                continue
            while left > 0:
                start = 2 * draw.randrange(len(block) // 4)
                count = min(left, len(block) // 2)
                file.write(block[start : start + count])
                left -= count


def main():
    folder = Path(sys.argv[1])
    layers = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    folder.mkdir(parents=True)
    draw, block = random.Random(1), noise()
    shards = [{"model.embed_tokens.weight": [VOCAB, HIDDEN]}]
    for first in range(0, layers, BLOCKS_PER_SHARD):
        shards.append({})
        for layer in range(first, min(first + BLOCKS_PER_SHARD, layers)):
            shards[-1].update(block_tensors(layer))
    shards.append({"model.norm.weight": [HIDDEN], "lm_head.weight": [VOCAB, HIDDEN]})
    places = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / name, tensors, block, draw)
        places.update(dict.fromkeys(tensors, name))
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tokens = [[draw.randrange(VOCAB) for _ in range(LENGTH)] for _ in range(SEQUENCES)]
    (folder / "tokens.json").write_text(json.dumps(tokens))


main()
