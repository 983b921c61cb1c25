"""Train the tokenizer: byte-level BPE of 1024 pieces over the four task families and some English.

python recipes/make_tokenizer.py --out DIR
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from outthink.bench.tasks import load

FAMILIES = ("steps", "countdown", "paths", "procedures")
SPECIALS = ("<pad>", "<bos>", "<eos>")
VOCABULARY = 1024
# A newline, a digit, an operator with its spaces, a word with its space, any other sign, any other blank.
PIECES = r"\n|\p{N}| [-+*/=] | ?\p{L}+| ?[^\s\p{L}\p{N}]|[^\S\n]"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}Q: {{ message['content'] }}\n"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}\n{{ eos_token }}"
    "{% else %}{{ message['content'] }}\n{% endif %}{% endfor %}"
)


def corpus(number: int) -> Iterator[str]:
    """`number` training problems of each family with their solutions, then general English."""
    for family in FAMILIES:
        task = load(family, level=0)
        for index in range(number):
            problem = task.problem("train", index)
            yield f"Q: {problem.prompt}\n{problem.secret.solution}\n"
    yield from topics.values()


def build(number: int) -> Tokenizer:
    """The trained tokenizer; a text gets <bos> in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(number), trainer)
    bos = tokenizer.token_to_id("<bos>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", bos)]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "model_max_length": 2048,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    """Train, check the size, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=10000, help="of each family")
    options = parser.parse_args()
    tokenizer = build(options.problems)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(f"only {tokenizer.get_vocab_size()} pieces: the corpus is too small")
    save(tokenizer, options.out)
    print(f"saved {VOCABULARY} pieces to {options.out}")


if __name__ == "__main__":
    main()
