"""Exact token counts from a model's staged `tokenizer.json`, without transformers."""

from pathlib import Path

from tokenizers import Tokenizer

from moaa.api.models import Model
from moaa.asking.windows import CharacterCounter, Window
from moaa.errors import DataError


class TokenizerCounter:
    """Counts with the model's own tokenizer, without special tokens (the template's share is counted apart)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def most(self, text: str) -> int:
        return len(self._tokenizer.encode(_sound(text), add_special_tokens=False).ids)

    def least(self, text: str) -> int:
        return self.most(text)

    def head(self, text: str, tokens: int) -> str:
        """Cut between tokens, so that counting the result again gives `tokens` or, at most, fewer."""
        sound = _sound(text)
        offsets = self._tokenizer.encode(sound, add_special_tokens=False).offsets
        if len(offsets) <= tokens:
            return sound
        if tokens <= 0:
            return ""
        # The token after the cut may start inside a character that both share, so cut where it starts.
        return sound[: offsets[tokens][0]]


def load_counter(file: Path) -> TokenizerCounter:
    """The counter of a `tokenizer.json`. Raises DataError: the file cannot be read as one."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{file}: not a tokenizer.json that the tokenizers library reads ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenizerCounter(tokenizer)


def window_of(model: Model, *, tokenizer: Path | None = None) -> Window:
    """The context window of a declared model; without its tokenizer, counts are bounds from its characters."""
    counter = CharacterCounter() if tokenizer is None else load_counter(tokenizer)
    return Window(model.max_model_len, counter)


def _sound(text: str) -> str:
    """Lone surrogates cannot cross into the library; a question mark stands for each."""
    return text.encode("utf-8", "replace").decode("utf-8")
