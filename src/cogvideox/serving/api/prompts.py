"""Prompts written anew by a language model: translated into English, or made the captions that video models know."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Literal, get_args

import anyio.to_thread
from anyio import CapacityLimiter

from cogvideox.chat.caption_style import read_style
from cogvideox.chat.endpoint import EndpointSettingsError
from cogvideox.chat.pacing import Pacer, StoppedError
from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.errors import FetchError
from cogvideox.generation.prompt_enhancer import EndpointEnhancer, TokenLimit
from cogvideox.serving.api.settings import ChatSettings
from cogvideox.serving.errors import ApiError, describe
from cogvideox.serving.model_catalog import CatalogModel, ModelCatalog
from cogvideox.serving.requests import read_prompt

Purpose = Literal["translate", "enhance"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
FIELDS = ("prompt", "purpose", "model")
MAX_RUNNING = 6
"""Prompts at the same time; more are refused, so that a slow endpoint holds nothing but these."""
MAX_ANSWER_S = 30.0
MAX_REWRITE_S = 50.0
"""Altogether: a caption that is too long is asked for twice, and a broken connection is tried again."""
RETRY_AFTER_S = 10

logger = logging.getLogger(__name__)


class PromptRewriter:
    """Has prompts written anew, each in a thread of its own, and gives up what takes too long."""

    def __init__(self, chat: ChatSettings, models: ModelCatalog, *, max_prompt_length: int) -> None:
        """Ask an endpoint, for the models of a catalog.

        Raises:
            ValueError: the endpoint's URL, its model's name or the key cannot be right; a model's style is damaged.
        """
        self._chat, self._models, self._max_prompt_length = chat, models, max_prompt_length
        self._styles = {model.name: read_style(find_checkpoint(model.worker_name)) for model in models}
        self._limiter = CapacityLimiter(MAX_RUNNING)
        self._num_running = 0
        self._enhancer(models.default, Pacer())

    async def rewrite(self, fields: Mapping[str, Any]) -> dict[str, str]:
        """Return a prompt written anew, beside what it was.

        Args:
            fields: ``prompt``, ``purpose`` and, if it is not the first one, ``model`` whose captions are meant.

        Raises:
            ApiError: a field is wrong, the endpoint does not answer in time, or what it says is of no use.
        """
        prompt, purpose, model = self._read(fields)
        if self._num_running >= MAX_RUNNING:
            raise _not_ready("the language model has too much to do; try again")
        pacer = Pacer()
        self._num_running += 1
        running = asyncio.ensure_future(
            anyio.to_thread.run_sync(self._rewritten, prompt, purpose, model, pacer, limiter=self._limiter)
        )
        running.add_done_callback(self._ended)
        try:
            text = await asyncio.wait_for(asyncio.shield(running), MAX_REWRITE_S)
        except TimeoutError:
            raise _not_ready("the language model takes too long; try again") from None
        finally:
            pacer.stop()  # what nobody waits for any more ends in a moment
        return {"prompt": text, "original": prompt}

    def _ended(self, running: asyncio.Future[str]) -> None:
        self._num_running -= 1
        if not running.cancelled():
            running.exception()  # it was told already, or nobody waits for it any more

    def _read(self, fields: Mapping[str, Any]) -> tuple[str, Purpose, CatalogModel]:
        for name in fields:
            if name not in FIELDS:
                raise ApiError("unknown_field", f"{describe(name)}: there is no such field", param=name)
        prompt = read_prompt(fields.get("prompt"), self._max_prompt_length)
        purpose = fields.get("purpose")
        if purpose != "translate" and purpose != "enhance":
            told = f"purpose: expected {' or '.join(PURPOSES)}, got {describe(purpose)}"
            raise ApiError("invalid_param", told, param="purpose")
        name = fields.get("model")
        model = self._models.default if name is None else self._models.get(name) if isinstance(name, str) else None
        if model is None:
            known = ", ".join(each.name for each in self._models)
            raise ApiError("invalid_param", f"model: expected one of {known}, got {describe(name)}", param="model")
        return prompt, purpose, model

    def _enhancer(self, model: CatalogModel, pacer: Pacer) -> EndpointEnhancer:
        return EndpointEnhancer(
            self._chat.base_url,
            self._chat.model,
            self._chat.api_key,
            timeout_s=MAX_ANSWER_S,
            limit=TokenLimit(model.tokens.count, model.tokens.max_tokens),
            style=self._styles[model.name],
            pacer=pacer,
        )

    def _rewritten(self, prompt: str, purpose: Purpose, model: CatalogModel, pacer: Pacer) -> str:
        """Return a prompt written anew. Raises ApiError; what the endpoint says is for the log only."""
        enhancer = self._enhancer(model, pacer)
        try:
            made = enhancer.translate(prompt) if purpose == "translate" else enhancer.enhance(prompt)
            return read_prompt(made.result, self._max_prompt_length)
        except StoppedError:
            raise _not_ready("the language model takes too long; try again") from None
        except (FetchError, EndpointSettingsError) as error:
            # An endpoint may quote what it was asked; prompts are not for the log.
            reason = type(error).__name__ if prompt[:20] in str(error) else str(error)
            logger.warning("prompts", extra={"reason": reason})
            raise _not_ready("the language model does not answer; try again") from None
        except (ApiError, ValueError) as error:
            logger.info("prompts", extra={"reason": type(error).__name__})  # its words may repeat the prompt
            told = "prompt: the language model makes nothing of use of it; change it, or write it in English"
            raise ApiError("invalid_param", told, param="prompt") from None


def _not_ready(message: str) -> ApiError:
    return ApiError("not_ready", message, headers={"retry-after": str(RETRY_AFTER_S)})
