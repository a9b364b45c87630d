"""Keys of the API."""

import json
import os
import statistics
import time
from pathlib import Path

import pytest

from cogvideox.cli.main import main
from cogvideox.serving.database import Database
from cogvideox.serving.job import StoreError
from cogvideox.serving.keys import KeyRing, kept_pepper, read_pepper


def test_a_key_opens_until_it_is_revoked_or_its_time_is_over(store_url: str, quick_folder: Path) -> None:
    now_us = [1_800_000_000_000_000]
    database = Database(store_url, clock=lambda: now_us[0])
    ring = KeyRing(database, kept_pepper(quick_folder, database))
    assert not ring.has_valid_key()
    key, text = ring.new("laptop", scopes=("read", "generate"), lifetime_s=100)
    assert text.startswith(f"cogvideox_{key.id}") and len(text) == 10 + 16 + 64
    assert key.scopes == ("generate", "read") and key.owner == f"key_{key.id}"
    found = ring.verify(text)
    assert found is not None and found.id == key.id and ring.has_valid_key()
    ring.flush()  # uses are noted later, by a thread
    assert ring.all()[0].last_used_us == now_us[0]
    stored = str(ring.all())
    with database.reading() as transaction:
        stored += str(transaction.connection.exec_driver_sql("SELECT * FROM api_keys").all())
    assert text[-64:] not in stored
    other_pepper = KeyRing(database, bytes(32))
    assert other_pepper.verify(text) is None
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    odd = ("", "cogvideox_", text + "0", text + "\n", text.upper(), text[1:], wrong, "\ud800", "a\0", "x" * 10**7)
    assert not any(map(ring.verify, odd))
    now_us[0] += 100 * 1_000_000
    assert ring.verify(text) is None and not ring.has_valid_key()
    key, text = ring.new("server", owner="team", scopes=("admin",))
    assert ring.verify(text).owner == "team"
    assert ring.revoke(key.id) and ring.verify(text) is None
    assert ring.revoke(key.id) and not ring.revoke("0000") and not ring.revoke("'; --") and not ring.revoke("a\0")
    for bad in ({"name": ""}, {"scopes": ()}, {"scopes": ("root",)}, {"lifetime_s": 0}, {"owner": "a\0"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            ring.new(**({"name": "x"} | bad))
    database.close()


def test_it_takes_as_long_whatever_is_wrong_with_a_key(quick_folder: Path) -> None:
    database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")
    ring = KeyRing(database, kept_pepper(quick_folder, database))
    _, text = ring.new("a")
    revoked, revoked_text = ring.new("b")
    ring.revoke(revoked.id)
    kinds = {
        "right": text,
        "wrong": text[:-4] + "0000",
        "unknown": "cogvideox_" + "ab" * 40,
        "malformed": "hello",
        "revoked": revoked_text,
    }
    times_s = {kind: [] for kind in kinds}
    for _ in range(150):
        for kind, given in kinds.items():
            start_s = time.perf_counter()
            ring.verify(given)
            times_s[kind].append(time.perf_counter() - start_s)
    typical = {kind: statistics.median(each) for kind, each in times_s.items()}
    assert max(typical.values()) < 1.35 * min(typical.values()), typical
    database.close()


def test_the_pepper_is_made_once_and_only_ours(tmp_path: Path, quick_folder: Path) -> None:
    database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")
    assert read_pepper(tmp_path, database) is None and os.listdir(tmp_path) == []
    pepper = kept_pepper(tmp_path, database)
    assert len(pepper) == 32 and kept_pepper(tmp_path, database) == pepper == read_pepper(tmp_path, database)
    assert os.stat(tmp_path / "pepper").st_mode & 0o777 == 0o600 and os.listdir(tmp_path) == ["pepper"]
    (tmp_path / "pepper").write_text("short")
    with pytest.raises(StoreError, match="damaged"):
        kept_pepper(tmp_path, database)
    with pytest.raises(StoreError, match="No such"):
        kept_pepper(tmp_path / "missing", database)
    (tmp_path / "pepper").unlink()
    (tmp_path / "pepper").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="leads nowhere"):
        kept_pepper(tmp_path, database)
    database.close()


def test_a_lost_pepper_is_told_and_not_replaced_while_keys_need_it(
    quick_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("files.keep_files_private", "serving_log.log_as_json"):  # they are for the whole process
        monkeypatch.setattr(f"cogvideox.serving.{name}", lambda: None)

    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data-dir", str(quick_folder)])
        said = capsys.readouterr()
        assert ended.value.code == code and said.err.count("\n") <= 1 and "Traceback" not in said.err, said
        return said.out + said.err

    owner = "an owner whose name is longer than any terminal " * 3
    run("keys", "new", "laptop of somebody", "--owner", owner)
    key = json.loads(run("keys", "list", "--json"))["data"]["keys"][0]
    assert all(text in run("keys", "list") for text in (key["id"], owner, "generate read", " valid"))  # nothing is cut
    pepper = quick_folder / "pepper"
    kept = pepper.read_bytes()
    for damage in (pepper.unlink, lambda: pepper.write_text("x")):
        damage()
        listed = run("keys", "list", code=3)
        assert key["id"] in listed and "useless" in listed and "restore it" in listed
        assert not json.loads(run("keys", "list", "--json", code=3).splitlines()[0])["ok"]
        for start in (("--require-key",), ("--host", "0.0.0.0")):
            assert "restore it" in run("serve", "--engine", "fake", "--port", "0", *start, code=3)
        assert "restore it" in run("keys", "new", "other", code=3)
        assert not pepper.exists() or pepper.read_text() == "x"
    pepper.write_bytes(kept)
    assert " valid" in run("keys", "list")
    pepper.unlink()
    run("keys", "revoke", key["id"])
    run("keys", "new", "other")
    assert pepper.exists() and "revoked" in run("keys", "list")


def test_no_request_waits_for_who_writes(quick_folder: Path) -> None:
    database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")
    ring = KeyRing(database, kept_pepper(quick_folder, database))
    keys = [ring.new(f"key {number}") for number in range(20)]
    with database.writing():  # as a worker that reports, or a migration
        begun_s = time.monotonic()
        assert all(ring.verify(text) for _, text in keys)
        took_s = time.monotonic() - begun_s
    assert took_s < 2.0  # it would have been 5 s for the first key, the time that a writer waits
    ring.close()
    assert all(key.last_used_us for key in ring.all())
    database.close()
