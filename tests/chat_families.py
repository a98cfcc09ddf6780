"""Chat templates with the structure of the families there are, and conversations to try them on.

The texts are our own, as short as the structure allows; what a family is known for is in its comment. Tokenizers are
stand-ins: byte-level BPE that merges runs of line breaks, as the real ones do.
"""
# ruff: noqa: E501  a template is read as one line

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Turns = list[dict[str, str]]

CORPUS = [
    "the cat sat on the mat and the dog ran to the house",
    "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))",
    "hello there\n\nhow are you\n\n\nfine\n\n\n\nthank you",
    "user assistant system model think answer question",
]


@cache
def _trained() -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    words = Regex(r"\s*[\r\n]+| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(CORPUS * 20, trainer)
    return str(inner.to_str())


@cache
def _trained_with_spaces() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[chr(code) for code in range(32, 127)],
    )
    inner.train_from_iterator(CORPUS * 20, trainer)
    described = json.loads(inner.to_str())
    # Its bytes are ordinary tokens there.
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] == "<unk>"]
    return json.dumps(described)


def tokenizer_of(
    template: str | Mapping[str, str],
    specials: list[str],
    *,
    plain: tuple[str, ...] = (),
    eos: str,
    bos: str | None = None,
    spaces: bool = False,
) -> Any:
    """A fast tokenizer with control tokens `specials` and added tokens `plain` that are none (`<think>` of Qwen3).

    `spaces`: of SentencePiece's kind, which begins every text with a space, in place of byte-level.
    """
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer.from_str(_trained_with_spaces() if spaces else _trained())
    inner.add_special_tokens(specials)
    inner.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos, bos_token=bos)
    tokenizer.chat_template = template if isinstance(template, str) else dict(template)
    return tokenizer


@dataclass(frozen=True)
class Family:
    """One structure. `stops` are the texts of the tokens at which its server ends an answer."""

    template: str | Mapping[str, str]
    specials: tuple[str, ...]
    stops: tuple[str, ...]
    eos: str
    plain: tuple[str, ...] = ()
    bos: str | None = None
    args: Mapping[str, object] = field(default_factory=dict)
    thinking: str | None = None
    """`training.thinking`."""
    refused: str | None = None
    """Words of the reason for which resolve refuses it; None: it trains."""

    def tokenizer(self, *, spaces: bool = False) -> Any:
        return tokenizer_of(
            self.template, list(self.specials), plain=self.plain, eos=self.eos, bos=self.bos, spaces=spaces
        )

    def stop_ids(self, tokenizer: Any) -> frozenset[int]:
        return frozenset(tokenizer.convert_tokens_to_ids(text) for text in self.stops)


GO = "{% if add_generation_prompt %}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + GO
    + "<|im_start|>assistant\n{% endif %}"
)
IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK = ("<think>", "</think>")
HYBRID = (  # Qwen3: thoughts of earlier turns are stripped, the last answer gains a block
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}{% set text = m.content %}{% set thought = '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[-1] %}"
    "{% set text = text.split('</think>')[-1] %}{% endif %}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "<|im_start|>assistant\n<think>\n{{ thought.strip('\\n') }}\n</think>\n\n{{ text.lstrip('\\n') }}<|im_end|>\n"
    "{% else %}<|im_start|>assistant\n{{ text.lstrip('\\n') if thought else text }}<|im_end|>\n{% endif %}"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    + GO
    + "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OPENS = (  # DeepSeek-R1: the prompt opens a thought, history holds none
    "<bos>{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
    "<|User|>{{ m.content }}{% else %}<|Assistant|>{{ m.content.split('</think>')[-1] }}<eos>{% endif %}{% endfor %}"
    + GO
    + "<|Assistant|><think>\n{% endif %}"
)
R1 = ("<bos>", "<eos>", "<|User|>", "<|Assistant|>")
MISTRAL = (  # v0.3: the system text stands before the last user turn
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}<s>"
    "{% set ns = namespace(last=-1) %}{% for m in rest %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('After the optional system message roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {% if loop.index0 == ns.last and system %}{{ system }}\n\n{% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content | trim }}</s>{% endif %}{% endfor %}"
)
NEXT_ROLE = (  # GLM-4: no token of a turn's own end; the server stops at the next role's
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    + GO
    + "<|assistant|>\n{% endif %}"
)
GLM = ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>")
BOTH_ENDS = (  # Phi-3: the last turn ends with end-of-turn and end-of-text
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    + GO
    + "<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
)
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")

FAMILIES: dict[str, Family] = {
    "chatml": Family(CHATML, IM, ("<|im_end|>",), "<|im_end|>"),
    "chatml-default-system": Family(  # Qwen2.5
        "{% if messages[0].role != 'system' %}<|im_start|>system\nbe kind<|im_end|>\n{% endif %}" + CHATML,
        IM, ("<|im_end|>", "<|endoftext|>"), "<|im_end|>",
    ),
    "chatml-bos": Family("<|startoftext|>" + CHATML, (*IM, "<|startoftext|>"), ("<|im_end|>",), "<|im_end|>"),  # LFM2
    "headers": Family(  # Llama 3
        "<|begin|>{% for m in messages %}<|start_h|>{{ m.role }}<|end_h|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
        + GO + "<|start_h|>assistant<|end_h|>\n\n{% endif %}",
        ("<|begin|>", "<|start_h|>", "<|end_h|>", "<|eot|>", "<|eom|>", "<|eos|>"),
        ("<|eot|>", "<|eom|>", "<|eos|>"), "<|eos|>",
    ),
    "headers-date": Family(  # Llama 3.2
        "<|begin|><|start_h|>system<|end_h|>\n\ntoday {{ strftime_now('%d %b %Y') }}\n\n"
        "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}"
        "<|eot|>{% for m in messages %}<|start_h|>{{ m.role }}<|end_h|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
        + GO + "<|start_h|>assistant<|end_h|>\n\n{% endif %}",
        ("<|begin|>", "<|start_h|>", "<|end_h|>", "<|eot|>", "<|eos|>"), ("<|eot|>", "<|eos|>"), "<|eot|>",
    ),
    "inst": Family(  # Llama 2
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}"
        "{% else %}{% set system = false %}{% endif %}{% for m in messages %}"
        "{% if m.role == 'user' %}<s>[INST] {% if loop.first and system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}"
        "{{ m.content | trim }} [/INST]{% else %} {{ m.content | trim }} </s>{% endif %}{% endfor %}",
        ("<s>", "</s>"), ("</s>",), "</s>", bos="<s>",
    ),
    "inst-no-system": Family(  # Mistral 0.1
        "<s>{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}</s> {% endif %}{% endfor %}",
        ("<s>", "</s>"), ("</s>",), "</s>",
    ),
    "system-last": Family(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), ("</s>",), "</s>"),
    "system-token": Family(  # Mistral v7
        "<s>{% for m in messages %}{% if m.role == 'system' %}[SYS]{{ m.content }}[/SYS]{% elif m.role == 'user' %}"
        "[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}",
        ("<s>", "</s>", "[INST]", "[/INST]", "[SYS]", "[/SYS]"), ("</s>",), "</s>",
    ),
    "turns-no-system": Family(  # Gemma 2
        "<bos>{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
        "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_turn>\n{% endfor %}"
        + GO + "<turn>model\n{% endif %}",
        ("<bos>", "<eos>", "<turn>", "<end_turn>"), ("<eos>", "<end_turn>"), "<eos>",
    ),
    "turns-folded": Family(  # Gemma 3
        "<bos>{% if messages[0].role == 'system' %}{% set lead = messages[0].content + '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set lead = '' %}{% endif %}{% for m in messages %}"
        "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ lead if loop.first else '' }}{{ m.content | trim }}"
        "<end_turn>\n{% endfor %}" + GO + "<turn>model\n{% endif %}",
        ("<bos>", "<eos>", "<turn>", "<end_turn>"), ("<eos>", "<end_turn>"), "<eos>",
    ),
    "role-lines": Family(  # Zephyr
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}" + GO + "<|assistant|>\n{% endif %}",
        ("<s>", "</s>"), ("</s>",), "</s>",
    ),
    "spoken-roles": Family(  # Vicuna: roles are words, not tokens
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }} {% elif m.role == 'user' %}"
        "USER: {{ m.content }} {% else %}ASSISTANT: {{ m.content }}</s>{% endif %}{% endfor %}"
        + GO + "ASSISTANT:{% endif %}",
        ("<s>", "</s>"), ("</s>",), "</s>",
    ),
    "correct-roles": Family(  # OpenChat
        "<s>{% for m in messages %}GPT4 {{ m.role | capitalize }}: {{ m.content }}<|eot|>{% endfor %}"
        + GO + "GPT4 Assistant:{% endif %}",
        ("<s>", "<|eot|>"), ("<|eot|>",), "<|eot|>",
    ),
    "both-ends": Family(BOTH_ENDS, PHI, ("<|endoftext|>", "<|end|>", "<|assistant|>"), "<|endoftext|>"),
    "both-ends-unlisted": Family(
        BOTH_ENDS, PHI, ("<|endoftext|>",), "<|endoftext|>", refused=r"ends an answer with '<\|end\|>'.*eos_token_id"
    ),
    "separator": Family(  # Phi-4
        "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% endfor %}"
        + GO + "<|im_start|>assistant<|im_sep|>{% endif %}",
        (*IM, "<|im_sep|>"), ("<|im_end|>",), "<|im_end|>",
    ),
    "start-of-role": Family(  # Granite
        "{% for m in messages %}<|sor|>{{ m.role }}<|eor|>{{ m.content }}<|eot|>\n{% endfor %}"
        + GO + "<|sor|>assistant<|eor|>{% endif %}",
        ("<|sor|>", "<|eor|>", "<|eot|>"), ("<|eot|>",), "<|eot|>",
    ),
    "turn-tokens": Family(  # Command-R
        "<BOS>{% for m in messages %}<|START|><|{{ m.role | upper }}|>{{ m.content | trim }}<|STOP|>{% endfor %}"
        + GO + "<|START|><|ASSISTANT|>{% endif %}",
        ("<BOS>", "<|START|>", "<|STOP|>", "<|USER|>", "<|ASSISTANT|>", "<|SYSTEM|>"), ("<|STOP|>",), "<|STOP|>",
    ),
    "named-default": Family(  # Hermes
        {"default": CHATML, "tool_use": "tools" + CHATML}, IM, ("<|im_end|>",), "<|im_end|>"
    ),
    "named-no-default": Family(  # Command-R+
        {"rag": CHATML, "tool_use": CHATML}, IM, ("<|im_end|>",), "<|im_end|>", refused="rag, tool_use.*none is called default"
    ),
    "end-only-between": Family(  # OLMo, Tulu
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% if m.role == 'assistant' %}<|endoftext|>{% endif %}"
        "{% if not loop.last %}\n{% endif %}{% endfor %}" + GO + "\n<|assistant|>\n{% endif %}",
        ("<|endoftext|>",), ("<|endoftext|>",), "<|endoftext|>",
    ),
    "seed": Family(
        "{% for m in messages %}<seed:bos>{{ m.role }}\n{{ m.content }}<seed:eos>{% endfor %}"
        + GO + "<seed:bos>assistant\n{% endif %}",
        ("<seed:bos>", "<seed:eos>"), ("<seed:eos>",), "<seed:eos>",
    ),
    "hybrid-unstated": Family(
        HYBRID, IM, ("<|im_end|>", "<|endoftext|>"), "<|im_end|>", plain=THINK, refused=r"has to be said.*enable_thinking.*training\.thinking"
    ),
    "hybrid-answers": Family(
        HYBRID, IM, ("<|im_end|>", "<|endoftext|>"), "<|im_end|>", plain=THINK, thinking="AnswerOnly"
    ),
    "hybrid-off": Family(
        HYBRID, IM, ("<|im_end|>", "<|endoftext|>"), "<|im_end|>", plain=THINK, args={"enable_thinking": False}
    ),
    "hybrid-thoughts": Family(
        HYBRID, IM, ("<|im_end|>", "<|endoftext|>"), "<|im_end|>", plain=THINK, thinking="AsGiven"
    ),
    "opens-unstated": Family(OPENS, R1, ("<eos>",), "<eos>", plain=THINK, refused="opens a thought"),
    "opens-answers": Family(
        OPENS, R1, ("<eos>",), "<eos>", plain=THINK, thinking="AnswerOnly", refused="opens a thought"
    ),
    "opens-thoughts": Family(OPENS, R1, ("<eos>",), "<eos>", plain=THINK, thinking="AsGiven"),
    "opens-kept": Family(  # QwQ
        "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
        "{{ m.content.split('</think>')[-1].lstrip('\\n') }}<|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "<|im_end|>\n{% endif %}{% endfor %}" + GO + "<|im_start|>assistant\n<think>\n{% endif %}",
        IM, ("<|im_end|>",), "<|im_end|>", plain=THINK, thinking="AsGiven",
    ),
    "closes-first": Family(  # DeepSeek-V3.1: the prompt closes a thought, and answers lose theirs
        "<bos>{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
        "<|User|>{{ m.content }}{% else %}<|Assistant|></think>{{ m.content.split('</think>', 1)[-1] }}<eos>{% endif %}"
        "{% endfor %}" + GO + "<|Assistant|>{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}",
        R1, ("<eos>",), "<eos>", plain=THINK,
    ),
    "drops-thought": Family(  # EXAONE
        "{% for m in messages %}[|{{ m.role }}|]{{ m.content.split('</thought>')[-1] }}[|end|]\n{% endfor %}"
        + GO + "[|assistant|]{% endif %}",
        ("[|end|]", "[|user|]", "[|assistant|]", "[|system|]"), ("[|end|]",), "[|end|]",
    ),
    "next-role": Family(NEXT_ROLE, GLM, ("<|endoftext|>", "<|user|>", "<|observation|>"), "<|endoftext|>"),
    "next-role-unlisted": Family(
        NEXT_ROLE, GLM, ("<|endoftext|>",), "<|endoftext|>", refused=r"'<\|user\|>'.*eos_token_id"
    ),
    "no-end": Family(  # Nemotron-like: a line break and the next role's word
        "{% for m in messages %}Role {{ m.role }}\n{{ m.content }}\n{% endfor %}" + GO + "Role assistant\n{% endif %}",
        ("</s>",), ("</s>",), "</s>", refused="no token at which its server stops",
    ),
    "channels": Family(  # gpt-oss: what stands before the answer is the model's to write
        "{% for m in messages %}{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
        "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
        "<|end|>{% endif %}{% endfor %}" + GO + "<|start|>assistant{% endif %}",
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"), ("<|return|>", "<|end|>"), "<|return|>",
        refused=r"writes '<\|channel\|>final<\|message\|>' before an answer",
    ),
    "prompt-differs": Family(  # the prompt ends in words that history does not hold
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}" + GO + "<|assistant|>Sure: {% endif %}",
        PHI, ("<|end|>",), "<|end|>",
    ),
    "prompt-ends-in-space": Family(
        "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}<|end|>{% else %}<|user|>{{ m.content }}"
        "<|user|>{% endif %}{% endfor %}" + GO + " {% endif %}",
        PHI, ("<|end|>",), "<|end|>",
    ),
    "history-cut": Family(  # earlier answers are shortened
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and not loop.last %}...{% else %}{{ m.content }}"
        "{% endif %}<|end|>{% endfor %}" + GO + "<|assistant|>{% endif %}",
        PHI, ("<|end|>",), "<|end|>",
    ),
    "broken": Family(
        "{% for m in messages %}{{ m.role }", PHI, ("<|end|>",), "<|end|>", refused="cannot be read as a template"
    ),
}  # fmt: skip

WORKED = (
    "chatml", "chatml-default-system", "chatml-bos", "headers", "headers-date", "inst", "inst-no-system", "system-token",
    "turns-no-system", "turns-folded", "role-lines", "spoken-roles", "correct-roles", "separator", "start-of-role",
    "turn-tokens", "named-default", "end-only-between", "seed", "closes-first", "drops-thought",
)  # fmt: skip
"""Trained before there was a choice about thinking, and since then token for token alike."""


def _talk(*turns: tuple[str, str]) -> Turns:
    return [{"role": role, "content": content} for role, content in turns]


CODE = "def f(x):\n    return x + 1\n\n\nprint(f(2))"
CONVERSATIONS: dict[str, Turns] = {
    "single": _talk(("user", "say hello"), ("assistant", "hello there")),
    "several": _talk(
        ("user", "a cat"), ("assistant", "sat"), ("user", "a dog"), ("assistant", "ran"), ("user", "and"),
        ("assistant", "fine, thank you"),
    ),
    "system": _talk(("system", "answer in one word"), ("user", "the cat"), ("assistant", "sat")),
    "system-several": _talk(
        ("system", "answer in one word"), ("user", "the cat"), ("assistant", "sat"), ("user", "the dog"),
        ("assistant", "ran"),
    ),
    "empty-system": _talk(("system", ""), ("user", "the cat"), ("assistant", "sat")),
    "code": _talk(("user", "write f"), ("assistant", f"```python\n{CODE}\n```")),
    "leading-breaks": _talk(("user", "the cat"), ("assistant", "\n\nsat on the mat")),
    "leading-break-several": _talk(
        ("user", "the cat"), ("assistant", "\nsat"), ("user", "the dog"), ("assistant", "\n\n\nran")
    ),
    "unicode": _talk(("user", "你好, ça va?"), ("assistant", "很好 👩‍🚀 – naïve\u2028e\u0301")),
    "thought": _talk(("user", "2+2"), ("assistant", "<think>\ntwo and two\n</think>\n\nfour")),
    "thought-several": _talk(
        ("user", "2+2"), ("assistant", "<think>\ntwo and two\n</think>\n\nfour"), ("user", "3+3"),
        ("assistant", "<think>\nthree and three\n</think>\n\nsix"),
    ),
    "empty-thought": _talk(("user", "2+2"), ("assistant", "<think>\n\n</think>\n\nfour")),
    "lone-close": _talk(("user", "2+2"), ("assistant", "two and two\n</think>\n\nfour")),
    "control-in-answer": _talk(
        ("user", "how do turns look"), ("assistant", "as <|im_start|>user or <turn>user or <|START|> or [INST]")
    ),
    "control-in-question": _talk(("user", "what is <|im_start|> or <turn> or [INST]"), ("assistant", "a mark")),
    "end-in-answer": _talk(
        ("user", "how do turns end"),
        ("assistant", "<|im_end|> </s> <|eot|> <end_turn> <|end|> <|STOP|> <seed:eos> [|end|] <eos> <|endoftext|> <|user|>"),
    ),
    "trailing-spaces": _talk(("user", "the cat  "), ("assistant", "sat   \n\n")),
    "long": _talk(("user", "the cat sat " * 60), ("assistant", "on the mat " * 80)),
    "two-assistants": _talk(("user", "the cat"), ("assistant", "sat"), ("assistant", "on the mat")),
    "two-users": _talk(("user", "the cat"), ("user", "the dog"), ("assistant", "ran")),
    "answer-first": _talk(("assistant", "welcome"), ("user", "the cat"), ("assistant", "sat")),
    "empty-answer": _talk(("user", "the cat"), ("assistant", "")),
    "blank-answer": _talk(("user", "the cat"), ("assistant", " \n")),
    "no-answer": _talk(("user", "the cat")),
}  # fmt: skip
