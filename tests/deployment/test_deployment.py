"""What image, compose files, units and chart promise in their text; .ci/image and .ci/packaging use them."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from keycast import __version__
from tests.deployment import files
from tests.paths import ROOT

SERVICES = list(files.services())
NAMES = [f"{file} {name}" for file, name, _ in SERVICES]
OURS = [(name, service) for _, name, service in SERVICES if service["image"].startswith("keycast:")]
IMAGE_COMMANDS = ("demo", "serve", "bunker", "qcluster", "signer", "cosigner")
SECRET = re.compile(r"(SECRET|KEY|PASSWORD|TOKEN|KEK|URL)$")
NOT_SECRET = {"DATABASE_URL": "sqlite://:memory:"}


def documented() -> set[str]:
    return set(re.findall(r"^#? ?([A-Z][A-Z0-9_]{2,})=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def is_documented(name: str) -> bool:
    return name in documented() or name.removesuffix("_FILE") in documented()


def test_every_setting_is_documented() -> None:
    named = {name for _, service in OURS for name in service.get("environment", {})}
    named |= files.settings_in_chart() | files.settings_in_units()
    named |= set(re.findall(r"\b(KEYCAST_[A-Z_]+)=", files.last("ENV")))
    assert len(named) > 20
    assert {name for name in named if not is_documented(name)} == set()


def test_every_command_exists() -> None:
    known = get_commands()
    units = {re.search(r"bin/keycast (\w+)", unit.read_text())[1] for unit in files.UNITS}  # type: ignore[index]
    chart = set(re.findall(r"args: \[(\w+)", files.chart_text())) | {"serve", "bunker", "qcluster"}
    composed = {service["command"][0] for _, service in OURS}
    assert (units | chart | composed | set(IMAGE_COMMANDS)) - set(known) == set()
    assert composed >= {"serve", "bunker", "qcluster", "signer", "cosigner", "migrate"}


@pytest.mark.parametrize("service", [service for *_, service in SERVICES], ids=NAMES)
def test_a_service_is_confined_and_pinned(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"]["core"] == 0
    assert service["ulimits"]["nofile"] >= 65536
    assert not service.get("privileged")


@pytest.mark.parametrize(("name", "service"), OURS, ids=[name for name, _ in OURS])
def test_our_services_run_as_the_users_of_the_image_with_its_version(name: str, service: dict[str, Any]) -> None:
    assert service["image"] == f"keycast:{__version__}"
    user = {"signer": "10002:10001", "cosigner": "10003:10001"}.get(name, "10001:10001")
    assert service["user"] == user
    made = (ROOT / "deploy/image/system.sh").read_text()
    assert f"--uid {user.partition(':')[0]} --gid 10001" in made


def test_the_signer_and_the_co_signer_have_no_network_and_each_its_own_key_alone() -> None:
    scaled = files.compose("compose.scaled.yaml")["services"]
    assert scaled["signer"]["network_mode"] == scaled["cosigner"]["network_mode"] == "none"
    assert scaled["signer"]["secrets"] == ["kek"]
    assert scaled["cosigner"]["secrets"] == ["cosigner_kek"]
    others = [service for name, service in scaled.items() if name not in {"signer", "cosigner"}]
    assert not {"kek", "cosigner_kek"} & {secret for service in others for secret in service.get("secrets", [])}


def test_the_scaled_shape_has_its_parts() -> None:
    scaled = files.compose("compose.scaled.yaml")["services"]
    assert scaled["web"]["deploy"]["replicas"] == scaled["worker"]["deploy"]["replicas"] == 2
    assert {"jobs", "signer", "cosigner", "postgres", "valkey", "caddy"} <= scaled.keys()
    assert scaled["strfry"]["profiles"] == ["relay"]


@pytest.mark.parametrize("file", files.COMPOSE)
def test_secrets_are_files_that_are_made_and_used(file: str, tmp_path: Any) -> None:
    given = files.compose(file)
    made = (ROOT / "deploy/compose/make-secrets").read_text()
    assert {name for name in given["secrets"] if f"file {name} " not in made} == set()
    used = {secret for service in given["services"].values() for secret in service.get("secrets", [])}
    assert used == set(given["secrets"])
    for name, service in given["services"].items():
        for setting, value in service.get("environment", {}).items():
            if str(value).startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name} {setting}"
            elif SECRET.search(setting):
                assert str(value).startswith("unused") or NOT_SECRET.get(setting) == value or not value


def test_no_secret_stands_in_the_charts_values_or_templates() -> None:
    text = files.chart_text()
    assert "kind: Secret\n" not in text
    for setting, value in re.findall(r"\{name: ([A-Z_]+), value: ([^}]*)\}", text):
        if SECRET.search(setting) and setting not in {"KEYCAST_COSIGNER_TLS_KEY"}:
            assert value.startswith("unused") or value == '"sqlite://:memory:"'
    values = yaml.safe_load((files.CHART / "values.yaml").read_text())
    assert set(values["secrets"]) == {"servers", "migrations", "signer", "cosigner"}


def test_the_chart_mounts_the_key_encryption_key_into_the_signer_alone() -> None:
    helpers = (files.CHART / "templates" / "_helpers.tpl").read_text()
    parts = dict(re.findall(r'\{\{-? define "keycast\.(\w+)" -?\}\}(.*?)\{\{-? end \}\}\n(?=\n|$)', helpers, re.DOTALL))
    assert "kek" in parts["signer"]
    assert "kek" not in parts["mounts"]
    assert "KEK" not in parts["settings"] + parts["shared"]


def test_the_image_runs_as_nobody_special_and_can_be_asked_how_it_is() -> None:
    assert files.last("USER") == "10001:10001"
    assert json.loads(files.last("ENTRYPOINT")) == ["keycast"]
    assert json.loads(files.last("HEALTHCHECK").partition("CMD ")[2]) == ["keycast-healthcheck"]
    assert [word for word, _ in files.dockerfile()].count("FROM") >= 2
    assert re.fullmatch(r"DEBIAN=\d+\.\d+-slim", files.last("ARG"))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for word, rest in files.dockerfile():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert any(source.rstrip("/").startswith(line[1:]) for line in ignored if line.startswith("!"))


def test_one_version_everywhere() -> None:
    chart = yaml.safe_load((files.CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    assert 'path = "keycast/__init__.py"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("unit", files.UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_confined(unit: Any) -> None:
    lines = unit.read_text().splitlines()
    assert {
        "UMask=0077",
        "LimitCORE=0",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
    } <= set(lines)
    if "migrate" not in unit.name:
        assert "LimitNOFILE=65536" in lines
    assert not [line for line in lines if line.startswith("User=root")]
    users = (ROOT / "deploy/systemd/keycast.sysusers").read_text()
    user = next(line.removeprefix("User=") for line in lines if line.startswith("User="))
    assert re.search(rf"^u {user} ", users, re.MULTILINE)


def test_caddy_takes_the_hosts_that_compose_gives_it() -> None:
    text = (ROOT / "deploy/compose/Caddyfile").read_text()
    given = files.compose("compose.scaled.yaml")["services"]["caddy"]["environment"]
    assert set(re.findall(r"\{\$(\w+)\}", text)) == set(given)


def asked(*lines: str) -> list[dict[str, str]]:
    done = subprocess.run(
        [ROOT / "deploy/compose/write-policy.sh"],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def line(kind: int, content: str = "", type_: str = "new", tags: list[list[str]] | None = None) -> str:
    event = {
        "content": content,
        "created_at": 1,
        "id": f"{kind:064x}",
        "kind": kind,
        "pubkey": "a" * 64,
        "tags": tags or [],
    }
    given = {"event": event, "receivedAt": 1, "sourceInfo": "127.0.0.1", "sourceType": "IP4", "type": type_}
    return json.dumps(given, separators=(",", ":"))


@pytest.mark.parametrize(
    "refused",
    [
        line(1),
        line(241330),
        line(2413),
        line(1, content='"kind":24133,'),
        line(1, content='\\"kind":24133,'),
        line(1, tags=[["kind", "24133"], ['"kind":24133,']]),
        line(24133, type_="lookback"),
    ],
)
def test_the_relay_refuses_what_is_not_nip_46(refused: str) -> None:
    assert [answer["action"] for answer in asked(refused)] == ["reject"]


def test_the_relay_takes_nip_46_whatever_is_in_it_and_answers_each_line_by_its_id() -> None:
    answers = asked(line(24133, content='"id":"00"'), line(7), "no json at all", line(24133))
    assert [answer["action"] for answer in answers] == ["accept", "reject", "accept"]
    assert [answer["id"] for answer in answers] == [f"{kind:064x}" for kind in (24133, 7, 24133)]
