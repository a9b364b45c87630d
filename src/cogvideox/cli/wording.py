"""The words of a prompt before they are encoded: language, number, and what a language model makes of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cogvideox.checkpoints.directory import CheckpointConfigs
from cogvideox.cli.request import GenerateSettings, split_lora

if TYPE_CHECKING:
    from cogvideox.chat.caption_style import CaptionStyle
    from cogvideox.generation.prompt_enhancer import PreparedPrompt


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Whether and by what prompts are enhanced or translated."""

    wants_enhancement: bool
    endpoint: str | None
    model: str | None

    def prepare(
        self, requests: list[GenerateSettings], configs: CheckpointConfigs, console: Console
    ) -> "list[PreparedPrompt]":
        """Return the words of each request, and print how many tokens they have and what was noticed.

        Raises:
            ValueError, FetchError, CheckpointError: the language model cannot be used.
        """
        from cogvideox.generation.prompt_enhancer import TokenLimit, choose_enhancer, prepare_prompt
        from cogvideox.generation.prompt_language import unknown_share
        from cogvideox.media.pictures import read_picture
        from cogvideox.models.text_encoder import count_tokens, load_tokenizer

        tokenizer = load_tokenizer(configs.directory / "tokenizer")
        max_tokens = configs.transformer.max_text_seq_length
        limit = TokenLimit(lambda text: count_tokens(tokenizer, text), max_tokens)
        enhancer = choose_enhancer(
            endpoint=self.endpoint,
            model=self.model,
            wants_enhancement=self.wants_enhancement,
            device=requests[0].device,
            limit=limit,
            style=_style(requests[0], configs) if self.wants_enhancement else None,
        )
        prepared: dict[str, PreparedPrompt] = {}
        for request in requests:
            if request.prompt in prepared:
                continue
            words = prepared[request.prompt] = prepare_prompt(
                request.prompt,
                enhancer=enhancer,
                unknown_share=unknown_share(request.prompt, tokenizer),
                image=None if request.image is None else read_picture(request.image),
                wants_enhancement=self.wants_enhancement,
            )
            _report(words, count_tokens(tokenizer, words.text), max_tokens, console)
        if enhancer is not None:
            enhancer.release()
        return [prepared[request.prompt] for request in requests]


def _style(request: GenerateSettings, configs: CheckpointConfigs) -> "CaptionStyle | None":
    """Return the style of the captions that the last of the adapters, or else the model, was trained on, if known."""
    from cogvideox.chat.caption_style import read_style

    folders = [configs.directory]
    for lora in request.lora:
        path = Path(split_lora(lora)[0])
        folders.insert(0, path if path.is_dir() else path.parent)
    return next((style for style in map(read_style, folders) if style is not None), None)


def _report(words: "PreparedPrompt", num_tokens: int, max_tokens: int, console: Console) -> None:
    if words.notice is not None:
        kind = "note" if words.was_translated else "warning"
        console.print(f"{kind}: {words.notice.message}", markup=False, soft_wrap=True)
    if words.text != words.original:
        console.print(f"prompt: {words.text}", markup=False, soft_wrap=True)
    console.print(f"prompt: {num_tokens} of at most {max_tokens} tokens", markup=False)
    if num_tokens > max_tokens:
        lost = f"{num_tokens - max_tokens} of its {num_tokens} tokens are lost"
        console.print(
            f"warning: the model reads {max_tokens} tokens of the prompt, {lost}", markup=False, soft_wrap=True
        )
