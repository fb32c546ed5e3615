#!/usr/bin/env python3
"""Trains the embedded Pre-LN model on the built-in corpus.

    cargo run --release --example builtin_corpus -- --seed 1 --count 150000 > stories.jsonl
    python train.py --stories stories.jsonl --out . --minutes 45

needs torch, transformers, tokenizers and safetensors. Writes config.json, model.safetensors (float16), tokenizer.json and
provenance.json into --out, first after a few minutes and then regularly, so that an interrupted run leaves a usable model.
The learning rate follows the share of the time that is spent: the run ends on time on a machine with other work, but the
number of steps, and with it the weights, depend on the machine; provenance.json says how many there were. --steps N gives
the same schedule over a fixed number of steps instead.
"""

import argparse
import hashlib
import json
import math
import pathlib
import sys
import time

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCAB, CONTEXT, BATCH, SEED = 1024, 256, 8, 1
LEARNING_RATE, FLOOR, WARM_UP, DECAY, BETAS = 1.2e-3, 0.1, 100, 0.1, (0.9, 0.98)
ANSWER_WEIGHT = 4.0  # of the tokens after the question: the rest is mostly chance, and its noise hides what can be learned
HELD_OUT = 2000  # stories, the last of the file
SHAPE = dict(
    hidden_size=96,
    intermediate_size=256,
    num_hidden_layers=16,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=CONTEXT,
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)


def train_tokenizer(texts):
    """Byte-level BPE; every story begins with <s> when it is encoded with special tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def token_stream(tokenizer, texts):
    """All stories one after the other, each with its <s>, cut into rows of CONTEXT tokens."""
    ids = []
    for start in range(0, len(texts), 10000):
        for encoding in tokenizer.encode_batch(texts[start : start + 10000]):
            ids.extend(encoding.ids)
    rows = len(ids) // CONTEXT
    return torch.tensor(ids[: rows * CONTEXT], dtype=torch.int16).view(rows, CONTEXT)


def initialise(model):
    """Normal with deviation 1/sqrt(inputs), output projections divided by sqrt(2 blocks): narrow models start slowly from 0.02."""
    for name, p in model.named_parameters():
        if p.dim() > 1:
            deviation = SHAPE["hidden_size"] ** -0.5 if "embed" in name else p.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                deviation /= (2 * SHAPE["num_hidden_layers"]) ** 0.5
            torch.nn.init.normal_(p, std=deviation)


def baselines(train, held_out):
    """Held-out nats per token of a unigram and of a smoothed bigram model."""
    counts = torch.bincount(train.flatten().long(), minlength=VOCAB).double() + 1
    unigram = -(counts / counts.sum()).log()[held_out[:, 1:].long()].mean().item()
    pairs = train[:, :-1].long() * VOCAB + train[:, 1:].long()
    table = torch.bincount(pairs.flatten(), minlength=VOCAB * VOCAB).double().view(VOCAB, VOCAB) + 0.01
    table = (table / table.sum(1, keepdim=True)).log()
    return unigram, -table[held_out[:, :-1].long(), held_out[:, 1:].long()].mean().item()


@torch.no_grad()
def loss_of(model, rows):
    model.eval()
    total = sum(model(input_ids=r.long(), labels=r.long()).loss.item() * len(r) for r in rows.split(BATCH))
    model.train()
    return total / len(rows)


@torch.no_grad()
def accuracy_by_steps(model, tokenizer, stories, limit=600):
    """Share of questions whose answer is likelier than its three alternatives, by number of steps; chance is 1/4."""
    right, asked = {}, {}
    model.eval()
    for story in stories[:limit]:
        prompt = tokenizer.encode(story["prompt"]).ids
        scores = []
        for choice in [story["answer"], *story["alternatives"]]:
            more = tokenizer.encode(f" {choice}.", add_special_tokens=False).ids
            ids = torch.tensor([(prompt + more)[-CONTEXT:]])
            log_p = model(input_ids=ids).logits[0].log_softmax(-1)
            scores.append(sum(log_p[-len(more) - 1 + i, token].item() for i, token in enumerate(more)))
        steps = story["steps"]
        asked[steps] = asked.get(steps, 0) + 1
        right[steps] = right.get(steps, 0) + (max(scores) == scores[0])
    model.train()
    return {str(k): {"accuracy": round(right[k] / asked[k], 4), "questions": asked[k]} for k in sorted(asked)}


def removal_costs(model, rows):
    """Increase of the loss when one block is left out, first to last."""
    whole, blocks = loss_of(model, rows), model.model.layers
    costs = []
    for i in range(len(blocks)):
        model.model.layers = torch.nn.ModuleList(b for j, b in enumerate(blocks) if j != i)
        model.config.num_hidden_layers = len(blocks) - 1
        costs.append(round(loss_of(model, rows) - whole, 4))
    model.model.layers, model.config.num_hidden_layers = blocks, len(blocks)
    return costs


def save(model, config, out, facts):
    """Weights in half precision and what is known of them, each file replaced at once."""
    state = {k: v.half().contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    weights = out / "model.safetensors"
    save_file(state, f"{weights}.part", metadata={"format": "pt"})
    pathlib.Path(f"{weights}.part").chmod(0o644)
    pathlib.Path(f"{weights}.part").replace(weights)
    described = json.loads(config.to_json_string(use_diff=False))
    keys = sorted(SHAPE) + ["vocab_size", "hidden_act", "attention_bias", "mlp_bias", "initializer_range"]
    kept = {k: described[k] for k in keys} | {"head_dim": SHAPE["hidden_size"] // SHAPE["num_attention_heads"]}
    kept |= dict(architectures=["LlamaForCausalLM"], model_type="llama", torch_dtype="float16")
    kept |= dict(rope_theta=10000.0, bos_token_id=1, eos_token_id=2)
    (out / "config.json").write_text(json.dumps(kept, indent=2) + "\n")
    facts["sha256"] = {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    (out / "provenance.json").write_text(json.dumps(facts, indent=1) + "\n")


def weighted_loss(model, batch, question):
    """Mean next-token loss in which the answer sentences count ANSWER_WEIGHT times."""
    logits = model(input_ids=batch).logits[:, :-1].float()
    places = torch.arange(batch.shape[1]).expand_as(batch)
    asked = torch.where(batch == question, places, -1).cummax(1).values
    begun = torch.where(batch == 1, places, -1).cummax(1).values
    weight = torch.where((asked > begun)[:, :-1], ANSWER_WEIGHT, 1.0)
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    return (losses * weight.flatten()).sum() / weight.sum()


def train(model, rows, held_out, question, arguments, report):
    """AdamW, linear warm-up, cosine to a tenth; calls report(step, seconds, loss, held-out loss, last)."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=decayed, weight_decay=DECAY), dict(params=plain, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)
    order, began, step, recent = torch.randperm(len(rows)), time.time(), 0, []
    done = 0.0
    while done < 1:
        at = step % (len(rows) // BATCH) * BATCH
        batch = rows[order[at : at + BATCH]].long()
        rate = min(1, (step + 1) / WARM_UP) * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = weighted_loss(model, batch, question)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        recent.append(loss.item())
        seconds = time.time() - began
        done = min(1.0, step / arguments.steps if arguments.steps else seconds / (60 * arguments.minutes))
        if step % 100 == 0 or done >= 1:
            held = loss_of(model, held_out[:BATCH] if done < 1 else held_out)
            report(step, seconds, sum(recent) / len(recent), held, done >= 1)
            recent = []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    arguments.out.mkdir(parents=True, exist_ok=True)

    stories = [json.loads(line) for line in arguments.stories.read_text().splitlines()]
    texts = [story["text"] for story in stories]
    tokenizer = train_tokenizer(texts[:20000])
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    rows, held_out = token_stream(tokenizer, texts[:-HELD_OUT]), token_stream(tokenizer, texts[-HELD_OUT:])[:128]
    unigram, bigram = baselines(rows, held_out)

    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), bos_token_id=1, eos_token_id=2, use_cache=False,
        attn_implementation="eager", **SHAPE,
    )
    model = transformers.LlamaForCausalLM(config)
    initialise(model)
    curve = []
    facts = {
        "what": "Pre-LN Llama trained on the built-in corpus",
        "made_by": "data/models/pre/train.py",
        "commands": [
            f"cargo run --release --example builtin_corpus -- --seed 1 --count {len(stories)} > stories.jsonl",
            "python train.py --stories stories.jsonl --out . "
            + (f"--steps {arguments.steps}" if arguments.steps else f"--minutes {arguments.minutes:g}"),
        ],
        "stories_sha256": hashlib.sha256(arguments.stories.read_bytes()).hexdigest(),
        "recipe": dict(
            seed=SEED, batch=BATCH, context=CONTEXT, optimizer="AdamW", betas=BETAS, weight_decay=DECAY,
            learning_rate=LEARNING_RATE, schedule=f"warm-up {WARM_UP} steps, cosine to {FLOOR:g}",
            clip=1.0, answer_weight=ANSWER_WEIGHT,
            initialisation="normal, 1/sqrt(inputs), output projections / sqrt(2 blocks)",
            dtype="float32 weights, bfloat16 products, stored as float16", threads=arguments.threads,
        ),
        "shape": SHAPE | {"vocab_size": config.vocab_size},
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": dict(torch=torch.__version__, transformers=transformers.__version__,
                         tokenizers=tokenizers.__version__, python=sys.version.split()[0]),
        "baseline_nats_per_token": {"unigram": round(unigram, 4), "bigram": round(bigram, 4)},
        "loss_curve": curve,
    }
    print(json.dumps(facts, indent=1), len(rows), "rows", flush=True)

    def report(step, seconds, loss, held, last):
        curve.append(dict(step=step, tokens=step * BATCH * CONTEXT, seconds=round(seconds),
                          loss=round(loss, 4), held_out_loss=round(held, 4)))
        print(curve[-1], flush=True)
        if step % 200 == 0 or last:
            facts["finished"] = last
            save(model, config, arguments.out, facts)

    train(model, rows, held_out, tokenizer.token_to_id("?"), arguments, report)
    facts["held_out"] = {"loss": curve[-1]["held_out_loss"], "tokens": held_out.numel()}
    facts["accuracy_by_steps"] = accuracy_by_steps(model, tokenizer, stories[-HELD_OUT:])
    facts["removal_costs"] = removal_costs(model, held_out[:64])
    save(model, config, arguments.out, facts)
    print(facts["accuracy_by_steps"], facts["removal_costs"], flush=True)


if __name__ == "__main__":
    main()
