"""The API's own description (OpenAPI 3.1), made of what the code checks with.

Left out is what has nothing to describe (`UNDESCRIBED`); the rewriting of prompts is there if a server has it. A copy
is committed as ``serving/openapi.json``; a test keeps them equal: ``python -m cogvideox.serving.api.openapi``.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, get_args

import cogvideox
from cogvideox.configs import GuidanceMode, SamplerName
from cogvideox.serving.api.settings import InputLimits
from cogvideox.serving.api.wire import VARIANT_ROLES
from cogvideox.serving.errors import STATUS
from cogvideox.serving.job import MAX_SEED, STATES
from cogvideox.serving.model_catalog import MAX_FPS, MAX_GUIDANCE_SCALE, MAX_STEPS
from cogvideox.serving.requests import MAX_SECONDS, PromptLanguage, Truncation

COMMITTED = Path(__file__).parent.parent / "openapi.json"
UNDESCRIBED = (
    "/v1/videos/extensions",
    "/v1/videos/characters",
    "/v1/videos/characters/{character_id}",
    "/v1/prompts/rewrite",
    "/readyz",
)
"""Refused with 501, whatever is sent; and what is 503 as long as nothing is wrong with a request."""
Schema = dict[str, Any]


@cache
def openapi_text(*, has_rewriting: bool = False) -> str:
    """Return it as JSON, for a server with or without a language model that writes prompts anew."""
    document = _document()
    if has_rewriting:
        document["paths"] |= {"/v1/prompts/rewrite": {"post": _rewrite()}}
        document["components"]["schemas"] |= _rewrite_schemas()
    return json.dumps(document, indent=1) + "\n"


def _document() -> Schema:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CogVideoX",
            "version": cogvideox.__version__,
            "description": "Videos from text, images and videos; the shape of OpenAI's Videos API, with additions.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "cogvideox_session"},
            },
        },
        "security": [{}, {"key": []}, {"session": []}],
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _nullable(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


def _object(properties: Schema, required: list[str] | None = None, *, is_open: bool = False) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    if required is None or required:
        made["required"] = list(properties) if required is None else required
    if not is_open:
        made["additionalProperties"] = False
    return made


def _asked_properties() -> Schema:
    """Return the fields of requests for videos."""
    length = InputLimits().max_prompt_length
    return {
        "prompt": {"type": "string", "minLength": 1, "maxLength": length},
        "negative_prompt": _nullable("string", maxLength=length),
        "original_prompt": _nullable("string", maxLength=length, description="What it was before it was rewritten."),
        "model": _nullable("string", minLength=1, maxLength=255, description="By default the first one."),
        "seconds": {
            "anyOf": [
                {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"},
                {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS},
                {"type": "null"},
            ],
            "description": "The nearest length that the model makes is taken.",
        },
        "size": _nullable("string", pattern="^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", description="One of the model's."),
        "width": _nullable("integer", minimum=1, maximum=99_999),
        "height": _nullable("integer", minimum=1, maximum=99_999),
        "num_inference_steps": _nullable("integer", minimum=1, maximum=MAX_STEPS),
        "guidance_scale": _nullable("number", minimum=0, maximum=MAX_GUIDANCE_SCALE),
        "guidance_mode": _nullable("string", enum=[*get_args(GuidanceMode), None]),
        "sampler": _nullable("string", enum=[*get_args(SamplerName), None]),
        "strength": _nullable("number", minimum=0, maximum=1, description="Only for a video that is made over."),
        "seed": _nullable("integer", minimum=0, maximum=MAX_SEED, description="Drawn if not given, and told."),
        "fps": _nullable("number", minimum=1, maximum=MAX_FPS, description="Playback only."),
        "num_frames": _nullable("integer", minimum=1, maximum=100_000),
        "truncation": _nullable("string", enum=[*get_args(Truncation), None]),
        "prompt_language": _nullable("string", enum=[*get_args(PromptLanguage), None]),
        "n": _nullable("integer", minimum=1, maximum=1),
        "user": _nullable("string", maxLength=255),
        "extra_body": {"type": ["object", "null"], "description": "More of these fields."},
    }


def _form_properties() -> Schema:
    """Return the same fields as text of a form."""
    number = {"type": "string", "pattern": r"^-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?$"}
    made: Schema = {}
    for name, schema in _asked_properties().items():
        kinds = schema.get("type", ())
        is_number = "integer" in kinds or "number" in kinds
        if name == "seconds":
            made[name] = {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"}
        elif is_number:
            made[name] = number
        else:
            text = {key: value for key, value in schema.items() if key != "type"}
            if "enum" in text:
                text["enum"] = [value for value in text["enum"] if value is not None]
            made[name] = {"type": "string"} | text
    return made


def _schemas() -> Schema:
    file = {"type": "string", "format": "binary"}
    image_url = _object({"image_url": {"type": "string", "description": "A data URL; https where that is allowed."}})
    asked, form = _asked_properties(), _form_properties()
    without_model = {name: schema for name, schema in asked.items() if name != "model"}
    video_id = _object({"id": {"type": "string"}})
    return {
        "Error": _object({"error": _error_schema()}),
        "CreateVideo": _object(asked | {"input_reference": image_url | {"type": ["object", "null"]}}, ["prompt"]),
        "CreateVideoForm": _object(form | {"input_reference": file}, ["prompt"], is_open=True),
        "EditVideo": _object(asked | {"video": video_id}, ["prompt", "video"]),
        "EditVideoForm": _object(form | {"video": file}, ["prompt", "video"], is_open=True),
        "RemixVideo": _object(without_model | {"model": asked["model"]}, ["prompt"]),
        "PlanVideo": _object(
            asked | {"input_kind": _nullable("string", enum=["text", "image", "video", None])}, ["prompt"]
        ),
        "Video": _video_schema(),
        "VideoList": _object(
            {
                "object": {"const": "list"},
                "data": {"type": "array", "items": _ref("Video")},
                "first_id": _nullable("string"),
                "last_id": _nullable("string"),
                "has_more": {"type": "boolean"},
            }
        ),
        "VideoDeleted": _object(
            {"id": {"type": "string"}, "object": {"const": "video.deleted"}, "deleted": {"const": True}}
        ),
        "VideoPlan": _plan_schema(),
        "Model": _object(
            {
                "id": {"type": "string"},
                "object": {"const": "model"},
                "created": {"type": "integer"},
                "owned_by": {"type": "string"},
                "capabilities": {"type": "object"},
            }
        ),
        "ModelList": _object({"object": {"const": "list"}, "data": {"type": "array", "items": _ref("Model")}}),
        "Session": _object(
            {
                "object": {"const": "session"},
                "requires_key": {"type": "boolean"},
                "is_signed_in": {"type": "boolean"},
                "scopes": {"type": "array", "items": {"type": "string"}},
            }
        ),
        "EnterSession": _object({"key": {"type": "string", "maxLength": 256}}),
    }


def _error_schema() -> Schema:
    return _object(
        {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": _nullable("string"),
            "code": {"type": "string", "enum": list(STATUS)},
        }
    )


def _effective_schema() -> Schema:
    """Return the settings that a video has in the end."""
    return {
        "model": {"type": "string"},
        "prompt": {"type": "string"},
        "negative_prompt": {"type": "string"},
        "size": {"type": "string"},
        "num_frames": {"type": "integer"},
        "fps": {"type": "number"},
        "num_inference_steps": {"type": "integer"},
        "guidance_scale": {"type": "number"},
        "guidance_mode": {"type": "string"},
        "sampler": _nullable("string"),
        "strength": _nullable("number"),
        "input_kind": {"type": "string", "enum": ["text", "image", "video"]},
    }


def _warnings_schema() -> Schema:
    text = {"type": "string"}
    return {"type": "array", "items": _object({"code": text, "message": text, "param": text}, ["code"], is_open=True)}


def _video_schema() -> Schema:
    error = _object({"code": {"type": "string"}, "message": {"type": "string"}})
    return _object(
        {
            "id": {"type": "string", "pattern": "^video_[0-9a-f]{32}$"},
            "object": {"const": "video"},
            "status": {"type": "string", "enum": list(STATES)},
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            "created_at": {"type": "integer"},
            "started_at": _nullable("integer"),
            "completed_at": _nullable("integer"),
            "expires_at": _nullable("integer"),
            "seconds": {"type": "string"},
            **_effective_schema(),
            "seed": {"type": "integer"},
            "remixed_from_video_id": _nullable("string"),
            "error": error | {"type": ["object", "null"]},
            "stage": _nullable("string"),
            "step": {"type": "integer"},
            "num_steps": {"type": "integer"},
            "attempt": {"type": "integer"},
            "is_canceling": {"type": "boolean"},
            "is_expired": {"type": "boolean"},
            "queue_position": _nullable("integer", description="Videos that come before it."),
            "queue_eta_seconds": _nullable("integer", description="Until it begins."),
            "eta_seconds": _nullable("integer", description="Until it is ready."),
            "usage": {"type": ["object", "null"], "properties": {"gpu_seconds": {"type": "number"}}},
            "variants": {"type": "array", "items": {"type": "string", "enum": list(VARIANT_ROLES)}},
            "has_preview": {"type": "boolean"},
            "warnings": _warnings_schema(),
            "links": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    )


def _plan_schema() -> Schema:
    return _object(
        {
            "object": {"const": "video.plan"},
            **_effective_schema(),
            "prompt_tokens": {"type": "integer"},
            "max_prompt_tokens": {"type": "integer"},
            "is_truncated": {"type": "boolean"},
            "memory_bytes": _nullable("integer"),
            "available_memory_bytes": _nullable("integer"),
            "fits": _nullable("boolean"),
            "eta_seconds": _nullable("integer"),
            "queue_position": {"type": "integer"},
            "queue_eta_seconds": {"type": "integer"},
            "num_workers": {"type": "integer"},
            "unknown_share": {"type": "number"},
            "warnings": _warnings_schema(),
        }
    )


def _paths() -> Schema:
    one = "/v1/videos/{video_id}"
    video_id = {"name": "video_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    post, get = _post, _get
    create = post("createVideo", "Have a video made", "CreateVideo", "CreateVideoForm", is_idempotent=True)
    sync = post("createVideoAndWait", "Have a video made, and get it", "CreateVideo", "CreateVideoForm")
    sync["responses"]["200"] = {"description": "The video", "content": {"video/mp4": {}}}
    page = {"get": get("page", "The page", None, kind="text/html")}
    return {
        "/v1/videos": {"get": _list_videos(), "post": create},
        "/v1/videos/plan": {"post": post("planVideo", "Say what a video would take", "PlanVideo", answer="VideoPlan")},
        "/v1/videos/sync": {"post": sync},
        "/v1/videos/edits": {"post": post("editVideo", "Make a video over", "EditVideo", "EditVideoForm")},
        one: {
            "parameters": [video_id],
            "get": get("retrieveVideo", "A video as it stands", "Video"),
            "delete": get("deleteVideo", "Delete a video, and stop it", "VideoDeleted"),
        },
        f"{one}/content": {"parameters": [video_id], "get": _content()},
        f"{one}/remix": {
            "parameters": [video_id],
            "post": post("remixVideo", "Make a video over with another prompt", "RemixVideo", is_idempotent=True),
        },
        f"{one}/cancel": {"parameters": [video_id], "post": get("cancelVideo", "Stop a video", "Video")},
        f"{one}/events": {
            "parameters": [video_id],
            "get": get("videoEvents", "A video each time that it changes", None, kind="text/event-stream"),
        },
        "/v1/models": {"get": get("listModels", "The models", "ModelList")},
        "/v1/models/{model}": {
            "parameters": [video_id | {"name": "model"}],
            "get": get("retrieveModel", "A model and what it takes", "Model"),
        },
        "/v1/session": {
            "get": get("session", "Whether this browser has a key", "Session"),
            "post": post("enterSession", "Give this browser a key", "EnterSession", answer="Session"),
            "delete": get("leaveSession", "Take this browser's key away", "Session"),
        },
        "/livez": {"get": get("livez", "The server runs", None)},
        "/metrics": {"get": get("metrics", "Numbers for Prometheus", None, kind="text/plain")},
        "/openapi.json": {"get": get("openapi", "This document", None)},
        "/": page,
        "/page/{name}": {
            "parameters": [video_id | {"name": "name"}],
            "get": get("pageFile", "A file of the page", None, kind="text/javascript"),
        },
    }


def _responses(answer: str | None, kind: str) -> Schema:
    schema = {"schema": {"type": "object"} if answer is None else _ref(answer)}
    content = {kind: schema if kind == "application/json" else {}}
    error = {"description": "A refusal", "content": {"application/json": {"schema": _ref("Error")}}}
    return {"200": {"description": "As asked", "content": content}, "default": error}


def _get(name: str, summary: str, answer: str | None, *, kind: str = "application/json") -> Schema:
    return {"operationId": name, "summary": summary, "responses": _responses(answer, kind)}


def _post(
    name: str,
    summary: str,
    body: str,
    form: str | None = None,
    *,
    answer: str = "Video",
    is_idempotent: bool = False,
) -> Schema:
    content = {"application/json": {"schema": _ref(body)}}
    if form is not None:
        content["multipart/form-data"] = {"schema": _ref(form)}
    made = _get(name, summary, answer) | {"requestBody": {"required": True, "content": content}}
    if is_idempotent:
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        made["parameters"] = [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}]
    return made


def _rewrite() -> Schema:
    return _post("rewritePrompt", "Have a prompt written anew", "RewritePrompt", answer="RewrittenPrompt")


def _rewrite_schemas() -> Schema:
    length = InputLimits().max_prompt_length
    prompt = {"type": "string", "minLength": 1, "maxLength": length}
    purpose = {"type": "string", "enum": ["translate", "enhance"], "description": "Into English, or into a caption."}
    model = _nullable("string", minLength=1, maxLength=255, description="Whose captions are meant.")
    return {
        "RewritePrompt": _object({"prompt": prompt, "purpose": purpose, "model": model}, ["prompt", "purpose"]),
        "RewrittenPrompt": _object({"prompt": prompt, "original": prompt}),
    }


def _list_videos() -> Schema:
    parameters = [
        {"name": "after", "in": "query", "schema": {"type": "string"}, "description": "Id of the last one before."},
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
        {"name": "order", "in": "query", "schema": {"type": "string", "enum": ["asc", "desc"], "default": "desc"}},
    ]
    return _get("listVideos", "Your videos", "VideoList") | {"parameters": parameters}


def _content() -> Schema:
    variant = {"type": "string", "enum": list(VARIANT_ROLES), "default": "video"}
    made = _get("videoContent", "A video's file", None, kind="video/mp4")
    file = {"content": {name: {} for name in ("video/mp4", "image/jpeg", "image/webp", "image/png", "image/gif")}}
    made["responses"] |= {"200": {"description": "The file", **file}, "206": {"description": "A part of it", **file}}
    made["responses"]["304"] = {"description": "The client has it"}
    return made | {
        "parameters": [
            {"name": "variant", "in": "query", "schema": variant},
            {"name": "version", "in": "query", "schema": {"type": "string"}, "description": "For caches."},
        ]
    }


if __name__ == "__main__":
    COMMITTED.write_text(openapi_text())
