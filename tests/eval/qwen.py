"""Writes a Qwen2-shaped folder of random weights with a real tokenizer: what a model without BOS, with biases, does.

    python tests/eval/qwen.py --tokenizer tokenizer.json --out FOLDER [--tied] [--positions 512]
"""

import argparse
import json
import pathlib
import shutil

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

EOS = "<|endoftext|>"
# Options must differ: with the usual 0.02 every log-likelihood would be about that of a uniform guess.
STD = {"weight": 0.2, "bias": 0.3}


def shape(vocabulary, end, tied, positions):
    return Qwen2Config(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=positions, tie_word_embeddings=tied, bos_token_id=end, eos_token_id=end, dtype=torch.float32,
    )


def randomise(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms stay near 1, or depth would scale everything.
            mean = 1.0 if "norm" in name else 0.0
            parameter.normal_(mean, STD[name.rsplit(".", 1)[-1]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--positions", type=int, default=4096, help="as many tokens has a window of running text")
    options = parser.parse_args()
    tokenizer = json.loads(options.tokenizer.read_text(encoding="utf-8"))
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == EOS)
    vocabulary = max([*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"])]) + 1
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(shape(vocabulary, end, options.tied, options.positions))
    randomise(model)
    model.save_pretrained(options.out)
    shutil.copyfile(options.tokenizer, options.out / "tokenizer.json")
    # As Qwen's: no beginning of text.
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": EOS, "pad_token": EOS}
    (options.out / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
