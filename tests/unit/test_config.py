"""Settings: where they come from, which of them wins, and how faults are told."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from cloudgrpc import config
from cloudgrpc.config import Config, load
from cloudgrpc.errors import SettingsWrong
from cloudgrpc.setting_names import SECRET_KEYS

CONFIG_TOML = Path(__file__).resolve().parents[2] / "config.toml"
SECRET = "sixteen characters at least"


def faults_of(folder: Path, **arguments: object) -> list[str]:
    with pytest.raises(SettingsWrong) as refused:
        load(folder=folder, **{"environment": {}, **arguments})  # type: ignore[arg-type]
    return str(refused.value).splitlines()


def uncommented() -> str:
    """config.toml as if somebody had activated every key."""
    return re.sub(r"^# (?=\w+ = |    \{|\])", "", CONFIG_TOML.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_file_for_people_names_every_key_with_its_default() -> None:
    assert tomllib.loads(uncommented()) == msgspec.json.decode(msgspec.json.encode(Config()))


def test_the_file_for_people_changes_nothing_as_it_stands(tmp_path: Path) -> None:
    assert load(CONFIG_TOML, environment={}, folder=tmp_path) == Config()


def test_the_file_for_people_explains_every_key() -> None:
    for paragraph in CONFIG_TOML.read_text(encoding="utf-8").split("\n\n")[1:]:
        explanation, *settings = re.split(r"\n(?=# \w+ = )", paragraph.rstrip())
        assert len(settings) == 1, paragraph
        assert re.search(r"^# [A-Z].*", explanation, flags=re.MULTILINE), paragraph
        assert explanation.endswith("."), paragraph


def test_the_file_for_people_names_every_secret_file() -> None:
    for _, key in SECRET_KEYS:
        assert f'{key}_file = "PATH"' in CONFIG_TOML.read_text(encoding="utf-8")


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    assert load(environment={}, folder=tmp_path) == Config()


def test_the_data_folder_is_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environment={}).data_folder == tmp_path / "cloudgrpc-data"


def test_each_source_is_over_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[gateway]\nport = 1001\n")
    port = {("gateway", "port"): 1004}
    assert load(environment={}, folder=tmp_path).gateway.port == 1001
    (tmp_path / ".env").write_text("CLOUDGRPC_GATEWAY_PORT=1002\n")
    assert load(environment={}, folder=tmp_path).gateway.port == 1002
    environment = {"CLOUDGRPC_GATEWAY_PORT": "1003"}
    assert load(environment=environment, folder=tmp_path).gateway.port == 1003
    assert load(environment=environment, flags=port, folder=tmp_path).gateway.port == 1004


def test_the_names_that_users_have_already_work(tmp_path: Path) -> None:
    familiar = {
        "DB_HOST": "db.example.org",
        "DB_PORT": "5433",
        "DB_NAME": "drive",
        "DB_USER": "someone",
        "DB_PASSWORD": "a password",
        "GRPC_SERVER_HOST": "127.0.0.2",
        "GRPC_SERVER_PORT": "50099",
    }
    settings = load(environment=familiar, folder=tmp_path)
    assert settings.database == config.Database("db.example.org", 5433, "drive", "someone", "a password")
    assert settings.gateway_address == "127.0.0.2:50099"


@pytest.mark.parametrize(
    ("section", "key"),
    [(section, key) for section, kind in config.sections().items() for key in kind.__struct_fields__],
)
def test_every_key_has_its_name_in_the_environment(tmp_path: Path, section: str, key: str) -> None:
    default = getattr(getattr(Config(), section), key)
    is_json = isinstance(default, (bool, tuple))
    said = msgspec.json.encode(default).decode() if is_json else str(default)
    environment = {f"CLOUDGRPC_{section}_{key}".upper(): said}
    assert load(environment=environment, folder=tmp_path) == Config()


@pytest.mark.parametrize(
    ("tier", "words"),
    [
        ({"storage_mb": 0}, ">= 1"),
        ({"storage_mb": -1}, ">= 1"),
        ({"storage_mb": 1 << 62}, "<= 1000000000"),
        ({"storage_mb": 1.5}, "int"),
        ({"price_xaf": 0}, ">= 1"),
        ({"price_xaf": 99.5}, "int"),
        ({"price_xaf": 1 << 40}, "<= 100000000"),
        ({"tier_id": "Big One"}, "regex"),
        ({"name": "\x1b[2J"}, "printable"),
        ({"tier_id": "second"}, "two have one tier_id"),
    ],
)
def test_a_tier_that_cannot_be_sold_is_refused(tmp_path: Path, tier: dict[str, object], words: str) -> None:
    good = {"tier_id": "first", "name": "First", "storage_mb": 1, "price_xaf": 1}
    tiers = [{**good, **tier}, {**good, "tier_id": "second"}]
    told = faults_of(tmp_path, environment={"CLOUDGRPC_PAYMENTS_TIERS": json.dumps(tiers)})
    assert len(told) == 1
    assert "tiers" in told[0].lower()
    assert words in told[0]


@pytest.mark.parametrize(
    ("url", "mode", "api"),
    [
        ("https://demo.campay.net/api", "demo", "https://demo.campay.net/api"),
        ("https://demo.campay.net", "demo", "https://demo.campay.net/api"),
        ("https://www.campay.net/api/", "production", "https://www.campay.net/api"),
        ("http://127.0.0.1:50053/api", "sandbox", "http://127.0.0.1:50053/api"),
        ("http://localhost:1", "sandbox", "http://localhost:1/api"),
    ],
)
def test_the_url_of_campay_tells_whether_money_is_real(tmp_path: Path, url: str, mode: str, api: str) -> None:
    told = {"CAMPAY_BASE_URL": url, "CAMPAY_APP_USERNAME": "drive", "CAMPAY_APP_PASSWORD": "a password"}
    campay = load(environment=told, folder=tmp_path).campay
    assert (campay.mode, campay.api_url) == (mode, api)


@pytest.mark.parametrize("host", ["www.campay.net", "127.0.0.1.example.org", "localhost.example.org", "192.168.0.1"])
def test_money_never_travels_unencrypted_to_another_machine(tmp_path: Path, host: str) -> None:
    told = {"CAMPAY_BASE_URL": f"http://{host}/api"}
    assert faults_of(tmp_path, environment=told) == ["[campay] base_url: needs https"]


def test_an_address_of_campay_holds_no_password_for_it_is_printed(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, environment={"CAMPAY_BASE_URL": "https://user:hush@www.campay.net/api"})
    assert fault.startswith("environment: CAMPAY_BASE_URL: ")
    assert "hush" not in fault


def test_a_list_in_the_environment_that_is_no_json_is_told_by_its_place(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, environment={"CLOUDGRPC_CLUSTER_OLD_SECRETS": "hush, hush"})
    assert fault.startswith("environment: CLOUDGRPC_CLUSTER_OLD_SECRETS: JSON is malformed")
    assert "hush" not in fault


def test_all_faults_are_told_at_once_each_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[gateway]\nport = "many"\ncolour = "red"\n[garden]\nroses = 3\n')
    told = faults_of(tmp_path, environment={"CLOUDGRPC_UPKEEP_ROUND_S": "-1", "CLOUDGRPC_UPKEEP_ROUNDS": "2"})
    assert len(told) == 5
    for fault in (
        f"{path}: [gateway] port: ",
        f"{path}: [gateway] colour: unknown key",
        f"{path}: [garden]: unknown section",
        "environment: CLOUDGRPC_UPKEEP_ROUND_S: ",
        "environment: CLOUDGRPC_UPKEEP_ROUNDS: no such setting",
    ):
        assert any(line.startswith(fault) for line in told), (fault, told)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[cluster]\nreplication_factor = 2\nwrite_quorum = 3", "[cluster] write_quorum"),
        ("[cluster]\nheartbeat_s = 9\noffline_after_s = 9", "[cluster] offline_after_s"),
        ("[drive]\nupload_lease_s = 100\n[upkeep]\ngrace_s = 100", "[upkeep] grace_s"),
        ('[cluster]\nsecret = "short"', "[cluster] secret"),
        ('[cluster]\nold_secrets = ["short"]', "[cluster] old_secrets"),
        ('[gateway]\ndigest_key = "short"', "[gateway] digest_key"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    assert [line.partition(": ")[0] for line in faults_of(tmp_path)] == [fault]


def test_a_fault_never_shows_the_secret(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[cluster]\nsecret = "hunter2"')
    assert "hunter2" not in "".join(faults_of(tmp_path))


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "other.toml"
    assert faults_of(tmp_path, path=missing) == [f"{missing}: no such file"]


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port: 50051")
    (fault,) = faults_of(tmp_path)
    assert fault.startswith(f"{tmp_path / 'config.toml'}: ")


def test_words_in_a_file_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[drive]\nnew_account_mb = 1.5\n")
    (fault,) = faults_of(tmp_path)
    assert "[drive] new_account_mb" in fault


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text(f"{SECRET}\n")
    environment = {"CLOUDGRPC_CLUSTER_SECRET_FILE": str(kept)}
    assert load(environment=environment, folder=tmp_path).cluster.secret == SECRET


def test_a_secret_that_is_rotated_keeps_its_file_and_what_is_accepted_besides(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text(f"{SECRET}\n{SECRET} of before\n")
    old = [f"{SECRET} of long ago"]
    environment = {
        "CLOUDGRPC_CLUSTER_SECRET_FILE": str(kept),
        "CLOUDGRPC_CLUSTER_OLD_SECRETS": json.dumps(old),
        "CLOUDGRPC_ENCRYPTION_MASTER_KEY_FILE": "",
    }
    settings = load(environment=environment, folder=tmp_path)
    assert (settings.cluster.secret_file, settings.cluster.old_secrets) == (str(kept), tuple(old))
    assert settings.encryption == config.Encryption()


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_secret_file_that_holds_none_is_refused(tmp_path: Path, content: str | None) -> None:
    kept = tmp_path / "secret"
    if content is not None:
        kept.write_text(content)
    (fault,) = faults_of(tmp_path, environment={"CLOUDGRPC_CLUSTER_SECRET_FILE": str(kept)})
    assert fault.startswith("environment: CLOUDGRPC_CLUSTER_SECRET_FILE: ")


def test_a_secret_and_its_file_together_are_refused(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text(SECRET)
    environment = {"CLOUDGRPC_CLUSTER_SECRET_FILE": str(kept), "CLOUDGRPC_CLUSTER_SECRET": SECRET}
    (fault,) = faults_of(tmp_path, environment=environment)
    assert "give one of them" in fault


def test_only_secrets_come_from_files(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, environment={"CLOUDGRPC_GATEWAY_HOST_FILE": "/etc/hostname"})
    assert fault.endswith("no such setting")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Config().gateway.port = 1  # type: ignore[misc]


def test_a_wrong_flag_is_told_by_the_setting_it_stands_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match=r"command line: \[gateway\] port: "):
        load(environment={}, flags={("gateway", "port"): 99999}, folder=tmp_path)
