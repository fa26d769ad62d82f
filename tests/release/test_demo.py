"""A person's first hour with the one file: the demo cluster, the shell, a payment, the dashboard, Ctrl-C."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cloudgrpc.errors import Exit
from executable_run import CHILDREN, NODES, maps, wait
from screen import Screen

if TYPE_CHECKING:
    from executable_run import Demo


def test_its_screen_says_what_to_type_as_it_was_typed(demo: Demo) -> None:
    assert f"  {demo.program} shell --gateway {demo.address} ls" in demo.screen


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_its_children_share_what_was_unpacked_once(demo: Demo) -> None:
    (folder,) = demo.folders()
    children = demo.main.children()
    assert len(children) == CHILDREN
    assert all(f"/{folder}/libpython" in maps(child) for child in children)
    gateway = next(child for child in children if child.cmdline()[1] == "gateway")
    wait(lambda: "/uvloop/" in maps(gateway), "uvloop")
    assert "LD_LIBRARY_PATH" not in demo.run("shell", "help").stderr


def test_a_person_enrolls_uploads_completes_words_and_interrupts_at_a_terminal(demo: Demo) -> None:
    (demo.folder / "holiday.txt").write_text("sun")
    screen = Screen(demo.terminal("shell", "--gateway", demo.address))
    try:
        screen.wait("not signed in>")
        screen.terminal.send('enroll alice@example.com "Alice Abena"\r')
        screen.wait("Code:")
        screen.terminal.send(f"{demo.code('alice@example.com')}\r")
        screen.wait("Welcome, Alice Abena")
        screen.wait("/>")
        screen.terminal.send("uplo\t")
        screen.wait("Upload files and folders.")
        screen.type(" holi\t", "holiday.txt")
        screen.enter("Uploaded /holiday.txt")
        screen.type("ls", "ls")
        screen.enter("holiday.txt")
        screen.type("mkdir never-ma", "never-ma")
        screen.type("\x03", "/>")
        screen.type("ls nowhere", "nowhere")
        screen.enter("nowhere")
        screen.terminal.send("\x04")
        assert screen.terminal.left() == Exit.OK
    finally:
        screen.terminal._process.kill()
    again = demo.shell("ls", "--json")
    assert [entry["name"] for entry in json.loads(again.stdout)] == ["holiday.txt"]


def test_ctrl_c_ends_a_command_with_130(demo: Demo) -> None:
    terminal = demo.terminal("shell", "--gateway", demo.address, "enroll", "nobody@example.com", "Nobody")
    try:
        terminal.expect_exact("Code:")
        terminal.send("\x03")
        assert terminal.left() == Exit.INTERRUPTED
    finally:
        terminal._process.kill()
    assert len(demo.folders()) == 1


def test_room_is_bought_from_the_sandbox(demo: Demo) -> None:
    signing_in = demo.start("shell", "--gateway", demo.address, "enroll", "buyer@example.com", "Buyer")
    said, _ = signing_in.communicate(f"{demo.code('buyer@example.com')}\n", timeout=60)
    assert signing_in.returncode == Exit.OK, said
    bought = demo.run(
        "pay", "--gateway", demo.address, "buy", "--tier", "starter", "--phone", "237670000001", "--yes", "--json"
    )
    assert bought.returncode == Exit.OK, bought.stderr
    assert json.loads(bought.stdout)["quota_bytes"] == (1024 + 250) << 20


def test_the_dashboard_takes_the_whole_screen_and_gives_it_back(demo: Demo) -> None:
    words = ["admin", "--data-dir", str(demo.folder / "cloudgrpc-data"), "--gateway", demo.address]
    screen = Screen(demo.terminal(*words))
    try:
        screen.wait("HEALTHY")
        screen.wait(f"node{NODES}")
        screen.terminal.send("n")
        screen.wait("Latency")
        screen.terminal.send("q")
        assert screen.terminal.left() == Exit.OK
    finally:
        screen.terminal._process.kill()


def test_health_and_reflection_answer(demo: Demo) -> None:
    with grpc.insecure_channel(demo.address) as channel:
        asked = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert asked.status == health_pb2.HealthCheckResponse.SERVING
        listed = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        names = [service.name for service in next(iter(listed)).list_services_response.service]
    assert any(name.endswith("FileService") for name in names)


def test_one_ctrl_c_stops_it_in_order(demo: Demo) -> None:
    """The loader passes Ctrl-C on, which the terminal told us as well: the second one must break nothing off."""
    demo.close()
    terminal = demo.terminal(*demo.words)
    try:
        terminal.expect_exact("Ctrl-C stops everything.")
        terminal.send("\x03")
        terminal.expect_exact("Stopping")
        assert terminal.left() == Exit.OK
    finally:
        terminal._process.kill()
    assert demo.folders() == []
    logs = {path.name: path.read_text() for path in (demo.folder / "cloudgrpc-data" / "logs").iterdir()}
    assert [name for name, log in logs.items() if re.search("Traceback|killed", log)] == []
