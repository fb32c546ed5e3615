"""Makes the fixture of tests/squad.rs: a tiny random BertForQuestionAnswering, 20 questions, and what transformers and an implementation of
the official evaluation of its own make of them, for the whole model and without each block.

    python3 tests/squad/generate.py     # torch, transformers, tokenizers, numpy as in tests/parity/requirements.txt
"""

import json
import random
import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

HERE = Path(__file__).parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """anna ben the a an mill river valley house old red is in was by of who where what built sees and from to it
1906 north , . ( ) ? - é""".split()
PIECES = ["##s", "##er", "##ing", "##n"] + [c for c in "bcdefghijklm"] + ["##" + c for c in "abcd"]
# Windows of the fixture: small, so that contexts overflow. Context of the model is 32 tokens, so they are min(384, 32) and min(128, 32 // 3).
SEED = 1
WINDOW, STRIDE, BEST, LONGEST = 32, 10, 20, 30


def tokenizer():
    vocab = {word: i for i, word in enumerate(dict.fromkeys(SPECIAL + WORDS + PIECES))}
    assert 50 <= len(vocab) <= 64, len(vocab)
    t = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=20))
    t.add_special_tokens(SPECIAL)
    t.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return t, len(vocab)


def rows(rng):
    for i in range(20):
        length = 6 if i == 0 else rng.randint(8, 60)
        context = " ".join(rng.choice(WORDS[:26] + ["Anna", "The", "mills", "Élan", "zzz", "é"]) for _ in range(length))
        words = context.split()
        gold = []
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(words))
            gold.append(" ".join(words[start : start + rng.randint(1, 4)]))
        question = " " * (i % 3) + " ".join(rng.choice(WORDS[:24]) for _ in range(rng.randint(2, 7))) + " ?"
        starts = [context.index(text) for text in gold]
        yield dict(id=f"q{i}", title="t", context=context, question=question, answers=dict(text=gold, answer_start=starts))


# The official evaluate-v1.1.py, written anew after its definition.
def normalize(s):
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1(prediction, truth):
    p, t = normalize(prediction).split(), normalize(truth).split()
    same = sum((Counter(p) & Counter(t)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(p), same / len(t)
    return 2 * precision * recall / (precision + recall)


def best(scores):
    return np.argsort(scores, kind="stable")[-1 : -BEST - 1 : -1].tolist()


def predict(features, logits, context):
    candidates = []
    for (encoding, (start_logits, end_logits)) in zip(features, logits):
        offsets = [o if s == 1 else None for o, s in zip(encoding.offsets, encoding.sequence_ids)]
        for s in best(start_logits):
            for e in best(end_logits):
                if offsets[s] is None or offsets[e] is None or e < s or e - s + 1 > LONGEST:
                    continue
                candidates.append((start_logits[s] + end_logits[e], offsets[s][0], offsets[e][1]))
    if not candidates:
        return "empty"
    top, start, end = max(candidates, key=lambda c: c[0])
    # An answer that the last digit of a logit decides would be a test of luck.
    others = [score for score, s, e in candidates if context[s:e] != context[start:end]]
    assert not others or top - max(others) > 3e-4, (top, max(others))
    return context[start:end]


def main(seed):
    t, vocab = tokenizer()
    config = BertConfig(vocab_size=vocab, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
                        max_position_embeddings=32, type_vocab_size=2, hidden_act="gelu", pad_token_id=0)
    torch.manual_seed(seed)
    model = BertForQuestionAnswering(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.1) + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
        # Types must tell.
        model.bert.embeddings.token_type_embeddings.weight.mul_(3)
        # Far apart, so that rounding decides nothing.
        model.qa_outputs.weight.mul_(4)
    folder = HERE / "model"
    model.save_pretrained(folder)
    t.save(str(folder / "tokenizer.json"))
    data = list(rows(random.Random(5)))
    fast = PreTrainedTokenizerFast(tokenizer_object=t, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]")
    features = []
    for row in data:
        coded = fast(row["question"].lstrip(), row["context"], truncation="only_second", max_length=WINDOW, stride=STRIDE,
                     return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True)
        features.append(coded.encodings)
    assert sum(map(len, features)) > 30
    layers = list(model.bert.encoder.layer)
    expected = dict(windows=[[dict(ids=e.ids, types=e.type_ids) for e in es] for es in features], models=[])
    for removed in [None, 0, 1, 2]:
        kept = [layer for i, layer in enumerate(layers) if i != removed]
        model.bert.encoder.layer = torch.nn.ModuleList(kept)
        with torch.no_grad():
            logits = []
            for es in features:
                outs = [model(input_ids=torch.tensor([e.ids]), token_type_ids=torch.tensor([e.type_ids])) for e in es]
                logits.append([(o.start_logits[0].numpy(), o.end_logits[0].numpy()) for o in outs])
        texts = [predict(es, ls, row["context"]) for es, ls, row in zip(features, logits, data)]
        expected["models"].append(dict(
            removed=removed, texts=texts,
            logits=[[[[float(a), float(b)] for a, b in zip(s, e)] for s, e in ls] for ls in logits]))
    model.bert.encoder.layer = torch.nn.ModuleList(layers)
    # Random models are never right: some of their answers, in other clothes, become right ones, so that there is something to judge.
    for i, row in enumerate(data):
        if i % 4 < 3:
            text = expected["models"][[0, 1, 3][i % 4]]["texts"][i]
            row["answers"]["text"].append(f"The {text.upper()}!")
            row["answers"]["answer_start"].append(row["context"].index(text))
    for of in expected["models"]:
        judged = list(zip(of["texts"], data))
        of["exact"] = [max(float(normalize(p) == normalize(g)) for g in row["answers"]["text"]) for p, row in judged]
        of["f1"] = [max(f1(p, g) for g in row["answers"]["text"]) for p, row in judged]
        print(of["removed"], np.mean(of["exact"]), np.mean(of["f1"]))
    rows_file = HERE / "rows" / "squad" / "validation.jsonl"
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    rows_file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in data))
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False))


# The first seed with which no answer is a matter of luck (see `predict`).
main(SEED)
