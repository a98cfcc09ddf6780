"""The tokenizer of the tiny world: characters, and whole instructions, operations and ratings as one token each."""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from examples.tiny.prompts import CRITERIA, PROMPTS
from examples.tiny.world import OPERATIONS

RATINGS = ("Strong", "Satisfactory", "Inadequate")
ROLES = ("system", "user", "assistant")
END = "<|end|>"
PAD = "<|pad|>"
UNKNOWN = "<|unknown|>"

# The generation block marks the assistant's tokens, end of turn included, for trainers that take the mask from here.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{%- generation -%}{{ message['content'] + '<|end|>' }}{%- endgeneration -%}"
    "{%- else -%}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def _phrases() -> list[str]:
    """Texts that are one token: the fixed parts of every prompt, and the words that models answer with."""
    fixed = (part for template in PROMPTS.values() for part in re.split(r"\{\w+\}", template))
    phrases = [*fixed, *CRITERIA, *CRITERIA.values(), "[[A]]", "[[B]]", "A ", " B "]
    phrases += [f"{operation} " for operation in OPERATIONS] + [*RATINGS]
    return sorted({phrase for phrase in phrases if len(phrase) > 1})


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose ids depend on `prompts.py` and `world.py` alone."""
    special = [PAD, UNKNOWN, END, *(f"<|{role}|>" for role in ROLES)]
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    words = [*special, *characters, *_phrases()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    longest_first = sorted(_phrases(), key=len, reverse=True)
    pattern = "|".join([*(re.escape(phrase) for phrase in longest_first), r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[f"<|{role}|>" for role in ROLES],
        chat_template=CHAT_TEMPLATE,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
