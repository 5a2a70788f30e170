from __future__ import annotations

import os
from pathlib import Path

import pytest

from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.settings import Address, Settings, is_loopback


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("EPHEMERA_"):
            monkeypatch.delenv(name)


def test_without_settings_everything_is_on_loopback() -> None:
    settings = Settings()
    assert settings.issuer is None
    assert settings.address == Address("127.0.0.1", 8700)
    assert settings.issuer_at(8700) == "http://127.0.0.1:8700"
    assert settings.database_url == "sqlite:///ephemera.db"
    assert settings.sealing_key_file is None
    assert settings.replay_url is None
    assert settings.jwks_uri_hosts == ()
    assert settings.algorithm == "ES256"
    assert not settings.tls_ends_in_front


def test_settings_come_from_the_environment_and_options_win(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "EPHEMERA_ISSUER": "https://tokens.internal",
        "EPHEMERA_LISTEN": "0.0.0.0:9000",
        "EPHEMERA_DATABASE_URL": "sqlite:////var/lib/ephemera.db",
        "EPHEMERA_SEALING_KEY_FILE": "/run/secrets/sealing",
        "EPHEMERA_REPLAY_URL": "sqlite:////var/lib/spent.db",
        "EPHEMERA_JWKS_URI_HOSTS": "orders.internal, 127.0.0.1",
        "EPHEMERA_ALGORITHM": "EdDSA",
        "EPHEMERA_TLS_ENDS_IN_FRONT": "true",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings(listen="[::]:9001", algorithm=None)
    assert settings.issuer_at(1) == "https://tokens.internal"
    assert settings.address == Address("::", 9001)
    assert settings.database_url == "sqlite:////var/lib/ephemera.db"
    assert settings.sealing_key_file == Path("/run/secrets/sealing")
    assert settings.replay_url == "sqlite:////var/lib/spent.db"
    assert settings.jwks_uri_hosts == ("orders.internal", "127.0.0.1")
    assert settings.algorithm == "EdDSA"
    assert settings.tls_ends_in_front


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHEMERA_ISSUER", "")
    assert Settings().issuer is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EPHEMERA_LISTN", "did you mean EPHEMERA_LISTEN?"),
        ("ephemera_isuer", "did you mean EPHEMERA_ISSUER?"),
        ("EPHEMERA_ZZZ", "there are EPHEMERA_ACCESS_LOG, EPHEMERA_ALGORITHM, "),
        ("EPHEMERA_PORT", "no such setting"),
        ("EPHEMERA_SERVICE_HOSTS", "no such setting"),
    ],
)
def test_an_unknown_name_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "s3cret-value")
    with pytest.raises(SettingsInvalid) as caught:
        Settings()
    assert str(caught.value).startswith(f"{name}: no such setting; ")
    assert hint in str(caught.value)
    assert "s3cret-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EPHEMERA_SERVICE_HOST", "10.0.0.7"),
        ("EPHEMERA_SERVICE_PORT", "8700"),
        ("EPHEMERA_SERVICE_PORT_HTTP", "8700"),
        ("EPHEMERA_PORT", "tcp://10.0.0.7:8700"),
        ("EPHEMERA_ISSUER_PORT", "tcp://10.0.0.7:8700"),
        ("EPHEMERA_PORT_8700_TCP", "tcp://10.0.0.7:8700"),
        ("EPHEMERA_PORT_8700_TCP_PROTO", "tcp"),
        ("EPHEMERA_PORT_8700_TCP_PORT", "8700"),
        ("EPHEMERA_PORT_8700_TCP_ADDR", "10.0.0.7"),
        ("EPHEMERA_CLIENT_ISSUER", "https://tokens.internal"),
        ("EPHEMERA_CLIENT_SECRET_FILE", "/run/secrets/orders"),
        ("EPHEMERAL", "another program's"),
    ],
)
def test_names_of_kubernetes_and_of_the_client_library_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert Settings() == Settings(listen="127.0.0.1:8700")


@pytest.mark.parametrize(
    "issuer",
    [
        "https://tokens.internal/",
        "https://tokens.internal/v1",
        "https://tokens.internal?x",
        "https://tokens.internal#x",
        "https://user@tokens.internal",
        "https://Tokens.internal",
        "HTTPS://tokens.internal",
        "https://tokens.internal:443",
        "https://tokens.internal:70000",
        "https://tokens.internal:08",
        "https://tokens.internal:",
        "http://tokens.internal",
        "http://127.0.0.1:80",
        "http://127.0.0.1.evil.example",
        "https://[::1",
        "https://",
        "tokens.internal",
        "ftp://tokens.internal",
        "https://tokens.internal\n",
        "https://tökens.internal",
    ],
)
def test_an_issuer_that_is_no_origin_is_refused(issuer: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_ISSUER: "):
        Settings(issuer=issuer)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://tokens.internal",
        "https://tokens.internal:8443",
        "http://127.0.0.1:8700",
        "http://[::1]:8700",
        "http://localhost:8700",
    ],
)
def test_an_origin_is_an_issuer(issuer: str) -> None:
    assert Settings(issuer=issuer).issuer_at(1) == issuer


@pytest.mark.parametrize(
    "listen", ["8700", ":8700", "127.0.0.1", "127.0.0.1:", "::1:8700", "a:70000", "a:-1", "a:٨"]
)
def test_an_address_is_a_host_and_a_port(listen: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_LISTEN: "):
        Settings(listen=listen)


def test_the_private_listener_is_on_loopback_and_takes_a_free_port_where_the_other_does() -> None:
    assert Settings().private_address == Address("127.0.0.1", 8701)
    named = Settings(listen="0.0.0.0:443", issuer="https://tokens.internal")
    assert named.private_address == Address("127.0.0.1", 8701)
    assert Settings(listen="127.0.0.1:0").private_address == Address("127.0.0.1", 0)
    assert Settings(private_listen="[::1]:9").private_address == Address("::1", 9)
    assert Settings(private_listen="off").private_address is None


@pytest.mark.parametrize("listen", ["8701", "OFF", "127.0.0.1", "a:70000"])
def test_a_private_address_is_a_host_and_a_port_too(listen: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_PRIVATE_LISTEN: "):
        Settings(private_listen=listen)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4318",
        "http://[::1]:4318/v1/traces",
        "https://collector.internal",
        "https://collector.internal:4318/otlp/v1/traces/",
        "http://otel:4318",
    ],
)
def test_traces_go_to_a_collector(url: str) -> None:
    assert Settings(traces=url, unencrypted_hosts="otel").traces == url
    assert Settings(traces="off").traces is Settings().traces is None


@pytest.mark.parametrize(
    "url",
    [
        "http://otel:4318",
        "https://user:hunter2@otel:4318",
        "https://otel:4318?key=hunter2",
        "https://otel:4318x",
        "https://otel:99999",
        "otel:4318",
        "grpc://otel:4317",
        "true",
    ],
)
def test_a_collector_is_an_https_url_without_a_secret_in_it(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_TRACES: ") as caught:
        Settings(traces=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("log_format", "xml"), ("log_format", "JSON"), ("log_level", "loud"), ("access_log", "some")],
)
def test_a_way_to_log_is_one_that_there_is(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"^EPHEMERA_{name.upper()}: must be"):
        Settings(**{name: value})


def test_a_host_of_a_private_network_may_be_named_for_plain_http() -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_ISSUER: must be https; .* private"):
        Settings(issuer="http://issuer:8700", unencrypted_hosts="tokens,ephemera.internal")
    settings = Settings(issuer="http://issuer:8700", unencrypted_hosts="tokens, issuer")
    assert settings.issuer_at(1) == "http://issuer:8700"
    assert settings.plain_http_meant
    assert Settings(issuer="http://[fd00::1]:8700", unencrypted_hosts="fd00::1").plain_http_meant


@pytest.mark.parametrize("issuer", [None, "http://127.0.0.1:8700", "https://issuer"])
def test_plain_http_is_not_meant_by_other_names(issuer: str | None) -> None:
    assert not Settings(issuer=issuer, unencrypted_hosts="issuer").plain_http_meant


def test_unencrypted_hosts_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHEMERA_UNENCRYPTED_HOSTS", "issuer,tokens.internal")
    assert Settings().unencrypted_hosts == ("issuer", "tokens.internal")


@pytest.mark.parametrize(
    "hosts", ["issuer:8700", "http://issuer", "Issuer", "issuer,", "*", "a b", "issuer/"]
)
def test_an_unencrypted_host_is_a_host_and_nothing_more(hosts: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_UNENCRYPTED_HOSTS: must be host names"):
        Settings(unencrypted_hosts=hosts)


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900), ("24h", 86_400), ("7d", 604_800), ("off", None)]
)
def test_a_period_of_rotations_is_a_duration_or_off(text: str, seconds: int | None) -> None:
    assert Settings(rotate_every=text).rotate_every == seconds
    assert Settings().rotate_every == 86_400


@pytest.mark.parametrize("text", ["14m", "367d", "900s", "900", "1.5h", "-1h", "never", "OFF"])
def test_a_period_that_verifiers_could_not_keep_up_with_or_nobody_would_live_to_see_is_refused(
    text: str,
) -> None:
    with pytest.raises(SettingsInvalid, match='EPHEMERA_ROTATE_EVERY: must be from "15m"'):
        Settings(rotate_every=text)


@pytest.mark.parametrize(
    ("workers", "says"),
    [
        (0, "must be greater than or equal to 1"),
        (65, "must be less than or equal to 64"),
        ("two", "must be a whole number"),
    ],
)
def test_a_number_of_workers_that_is_none_is_refused(workers: object, says: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"EPHEMERA_WORKERS: {says}"):
        Settings(workers=workers)


def test_workers_share_no_database_in_memory() -> None:
    with pytest.raises(SettingsInvalid, match="is for one process"):
        Settings(workers=2, database_url="sqlite://")


@pytest.mark.parametrize("url", ["redis://r:6379/0", "rediss://u:p@r", "unix:///run/redis.sock"])
def test_spent_assertions_may_be_in_redis(url: str) -> None:
    settings = Settings(replay_url=url)
    assert settings.replay_url == url
    assert url not in repr(settings)


def test_a_wrong_replay_url_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsInvalid, match="EPHEMERA_REPLAY_URL: must be sqlite") as caught:
        Settings(replay_url="postgresql://u:hunter2@r/x")
    assert "hunter2" not in str(caught.value)


def test_off_loopback_the_issuer_must_be_named() -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_ISSUER: must be set"):
        Settings(listen="0.0.0.0:8700")
    Settings(listen="0.0.0.0:8700", issuer="https://tokens.internal")


def test_the_default_issuer_follows_the_listener() -> None:
    assert Settings(listen="127.0.0.1:0").issuer_at(4711) == "http://127.0.0.1:4711"
    assert Settings(listen="[::1]:0").issuer_at(4711) == "http://[::1]:4711"


@pytest.mark.parametrize(
    "url", ["ephemera.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?b", "mysql://h/d"]
)
def test_a_database_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_DATABASE_URL: must be sqlite:///PATH"):
        Settings(database_url=url)


def test_every_wrong_setting_is_told_at_once_and_a_password_never() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        Settings(
            database_url="mysql://ephemera:hunter2@db/registry",
            algorithm="none",
            tls_ends_in_front="maybe",
            unheard_of=1,
        )
    assert str(caught.value).splitlines() == [
        (
            "EPHEMERA_DATABASE_URL: must be sqlite:///PATH (sqlite:////PATH for an absolute path) "
            "or postgresql://USER@HOST/DATABASE"
        ),
        "EPHEMERA_ALGORITHM: must be 'ES256', 'EdDSA' or 'RS256'",
        "EPHEMERA_TLS_ENDS_IN_FRONT: must be true or false",
        "EPHEMERA_UNHEARD_OF: no such setting",
    ]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - a case, nothing listens
        ("::", False),
        ("10.0.0.1", False),
        ("tokens.internal", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("text", "directory"),
    [("off", None), ("database", None), ("file:audit", Path("audit")), ("file:/a b", Path("/a b"))],
)
def test_an_audit_is_off_in_files_or_in_the_database(text: str, directory: Path | None) -> None:
    settings = Settings(audit=text)
    assert settings.audit_directory == directory
    assert settings.audit_when_behind == "slow"
    assert not settings.audit_before_answer


@pytest.mark.parametrize("text", ["on", "file", "file:", "files:audit", "database:audit"])
def test_an_audit_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"EPHEMERA_AUDIT: must (be off|name a directory)"):
        Settings(audit=text)


def test_when_the_audit_is_behind_there_are_two_things_to_do() -> None:
    assert Settings(audit_when_behind="stop").audit_when_behind == "stop"
    with pytest.raises(SettingsInvalid, match="EPHEMERA_AUDIT_WHEN_BEHIND: must be 'slow' or 'st"):
        Settings(audit_when_behind="drop")


def test_names_of_the_command_are_known_and_a_near_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ID", "KEY_FILE", "CA_FILE"):
        monkeypatch.setenv(f"EPHEMERA_ADMIN_{name}", "ops")
    assert Settings().issuer is None
    monkeypatch.setenv("EPHEMERA_ADMIN_KEY_FIEL", "ops.pem")
    with pytest.raises(SettingsInvalid, match=r"did you mean EPHEMERA_ADMIN_KEY_FILE\?"):
        Settings()


def test_nonces_in_proofs_are_off_or_required(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().dpop_nonce == "off"
    monkeypatch.setenv("EPHEMERA_DPOP_NONCE", "required")
    assert Settings().dpop_nonce == "required"
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_DPOP_NONCE: "):
        Settings(dpop_nonce="sometimes")
