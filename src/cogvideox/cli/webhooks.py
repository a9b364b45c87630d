"""``cogvideox webhooks``: who is told when videos end."""

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cogvideox.cli.output import OK, print_json, print_table
from cogvideox.cli.serving_flags import Flag, StoreFlags
from cogvideox.errors import FetchError

if TYPE_CHECKING:
    from cogvideox.serving.database import Database
    from cogvideox.serving.webhooks import Webhook

_PLACES = StoreFlags()
Places = Annotated[StoreFlags, Parameter(name="*", group="Jobs and files")]
Events = Annotated[
    list[Literal["video.completed", "video.failed"]] | None, Parameter(negative="", consume_multiple=True)
]


def new(
    url: str,
    *,
    owner: str | None = None,
    events: Events = None,
    allow_private: Flag = False,
    places: Places = _PLACES,
    json: Flag = False,
) -> int:
    """Register a target and print its secret, which cannot be shown again.

    Parameters
    ----------
    url
        Of https, of a public server; events are posted there as videos end.
    owner
        Whose videos it is told of, as keys list shows owners (default: those that are made without keys).
    events
        What it is told (default: both).
    allow_private
        Take a server of your own network, by http too.
    places
        Where the jobs are.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.api.access import LOCAL_OWNER
    from cogvideox.serving.outbox import EVENT_TYPES
    from cogvideox.serving.webhooks import Webhooks

    target, secret = Webhooks(_database(places, may_make=True)).new(
        url, owner=owner or LOCAL_OWNER, events=tuple(events or EVENT_TYPES), is_private_allowed=allow_private
    )
    if json:
        print_json({"ok": True, "data": _plain(target) | {"secret": secret}})
        return OK
    told = f"webhook {target.id}, of the videos of {target.owner}; its secret is shown only now:"
    Console(stderr=True, highlight=False).print(told, markup=False, soft_wrap=True)
    print(secret)
    return OK


def list_webhooks(*, places: Places = _PLACES, json: Flag = False) -> int:
    """List all targets, and how they are doing, without their secrets.

    Parameters
    ----------
    places
        Where the jobs are.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.webhooks import Webhooks

    targets = Webhooks(_database(places)).all()
    if json:
        print_json({"ok": True, "data": {"webhooks": [_plain(target) for target in targets]}})
        return OK
    table = Table("id", "owner", "url", "events", "last answer", "waiting", "given up", "state", box=None)
    for target in targets:
        last = "-" if target.last_us is None else f"{_minute(target.last_us)} {target.last_answer}"
        numbers = (str(target.num_waiting), str(target.num_given_up))
        table.add_row(target.id, target.owner, target.url, " ".join(target.events), last, *numbers, _state(target))
    print_table(table)
    return OK


def test(webhook_id: str, *, places: Places = _PLACES, json: Flag = False) -> int:
    """Send an event of the type webhook.test to a target now, from here, and say what it answered.

    Parameters
    ----------
    webhook_id
        As webhooks list shows it.
    places
        Where the jobs are.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.webhook_sender import send_test

    answer = send_test(_database(places), webhook_id)
    if answer is None:
        raise _no_such(webhook_id)
    if answer.verdict != "sent":
        raise FetchError(f"{webhook_id}: {answer.text}; it would not get its events now")
    return _report(webhook_id, f"{webhook_id} answered {answer.text}", json, answer=answer.text)


def enable(webhook_id: str, *, places: Places = _PLACES, json: Flag = False) -> int:
    """Tell a target again what happens from now on, and send at once what waits for it.

    Parameters
    ----------
    webhook_id
        As webhooks list shows it.
    places
        Where the jobs are.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.webhooks import Webhooks

    if not Webhooks(_database(places)).enable(webhook_id):
        raise _no_such(webhook_id)
    return _report(webhook_id, f"{webhook_id} is enabled", json)


def remove(webhook_id: str, *, places: Places = _PLACES, json: Flag = False) -> int:
    """Forget a target, and what was on its way to it.

    Parameters
    ----------
    webhook_id
        As webhooks list shows it.
    places
        Where the jobs are.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.webhooks import Webhooks

    if not Webhooks(_database(places)).remove(webhook_id):
        raise _no_such(webhook_id)
    return _report(webhook_id, f"{webhook_id} is removed", json)


def _database(places: StoreFlags, *, may_make: bool = False) -> "Database":
    from cogvideox.serving.database import Database

    place = places.place()
    place.check_store(may_make=may_make)
    return Database(place.url)


def _no_such(webhook_id: str) -> ValueError:
    return ValueError(f"webhook_id: there is no webhook {webhook_id!r}; see cogvideox webhooks list")


def _report(webhook_id: str, text: str, json: bool, **values: Any) -> int:
    if json:
        print_json({"ok": True, "data": {"id": webhook_id, **values}})
    else:
        Console(highlight=False).print(text, markup=False, soft_wrap=True)
    return OK


def _plain(target: "Webhook") -> dict[str, Any]:
    values: dict[str, Any] = dataclasses.asdict(target)
    for name in ("created", "disabled", "last"):
        time_us = values.pop(f"{name}_us")
        values[f"{name}_at"] = None if time_us is None else time_us // 10**6
    return values


def _state(target: "Webhook") -> str:
    if target.disabled_us is None:
        return "on"
    return f"disabled {_minute(target.disabled_us)}: {target.disabled_reason}"


def _minute(time_us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_us / 1e6))
