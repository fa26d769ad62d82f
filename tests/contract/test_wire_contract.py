"""The wire contract beside this file, held against ours: what existing clients rely on is there, unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import descriptor_pb2 as descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
CONTRACT = HERE / "cloud_storage.proto"
OURS = HERE.parents[1] / "proto" / "cloudgrpc" / "pb" / "cloud_storage.proto"
FIRST_FREE_NUMBER = 16

Facts = dict[str, object]  # a path such as "message FileInfo field filename" -> what is said of it


def parse(proto: Path, folder: Path) -> descriptors.FileDescriptorProto:
    output = folder / "descriptors"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto.parent}", f"--descriptor_set_out={output}"]
    subprocess.run([*command, str(proto)], check=True, capture_output=True)
    (parsed,) = descriptors.FileDescriptorSet.FromString(output.read_bytes()).file
    return parsed


def facts_of(proto: descriptors.FileDescriptorProto) -> Facts:
    """Everything of a proto that a client's bytes depend on."""
    facts: Facts = {"package": proto.package, "syntax": proto.syntax}
    for service in proto.service:
        for method in service.method:
            facts[f"rpc {service.name}.{method.name}"] = (
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming,
            )
    for message in proto.message_type:
        _add_message(facts, message.name, message)
    for enum in proto.enum_type:
        facts |= {f"enum {enum.name}.{value.name}": value.number for value in enum.value}
    return facts


def _add_message(facts: Facts, name: str, message: descriptors.DescriptorProto) -> None:
    facts[f"message {name}"] = message.options.map_entry
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        facts[f"field {name}.{field.name}"] = (field.number, field.type, field.type_name, field.label, oneof)
    for nested in message.nested_type:  # a map is a nested message of key and value
        _add_message(facts, f"{name}.{nested.name}", nested)


def broken(contract: descriptors.FileDescriptorProto, ours: descriptors.FileDescriptorProto) -> list[str]:
    """What the contract says and we do not say, or say otherwise."""
    theirs, said = facts_of(contract), facts_of(ours)
    return [f"{path}: {fact} became {said.get(path)}" for path, fact in theirs.items() if said.get(path) != fact]


def squatters(contract: descriptors.FileDescriptorProto, ours: descriptors.FileDescriptorProto) -> list[str]:
    """Our own fields that stand where the contract may still grow."""
    known, theirs = facts_of(contract), {message.name for message in contract.message_type}
    return [
        f"{message.name}.{field.name} = {field.number}"
        for message in ours.message_type
        for field in message.field
        if message.name in theirs
        and f"field {message.name}.{field.name}" not in known
        and field.number < FIRST_FREE_NUMBER
    ]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> descriptors.FileDescriptorProto:
    return parse(CONTRACT, tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> descriptors.FileDescriptorProto:
    return parse(OURS, tmp_path_factory.mktemp("ours"))


def test_the_contract_is_kept_whole(
    contract: descriptors.FileDescriptorProto, ours: descriptors.FileDescriptorProto
) -> None:
    assert broken(contract, ours) == []


def test_our_own_fields_leave_the_contract_room_to_grow(
    contract: descriptors.FileDescriptorProto, ours: descriptors.FileDescriptorProto
) -> None:
    assert squatters(contract, ours) == []


def _renumber(proto: descriptors.FileDescriptorProto) -> None:
    _field(proto, "FileInfo", "filename").number = 9


def _retype(proto: descriptors.FileDescriptorProto) -> None:
    _field(proto, "FileInfo", "file_size").type = descriptors.FieldDescriptorProto.TYPE_INT32


def _relabel(proto: descriptors.FileDescriptorProto) -> None:
    _field(proto, "ListFilesResponse", "files").label = descriptors.FieldDescriptorProto.LABEL_OPTIONAL


def _rename(proto: descriptors.FileDescriptorProto) -> None:
    _field(proto, "FileInfo", "filename").name = "file_name"


def _leave_the_oneof(proto: descriptors.FileDescriptorProto) -> None:
    _field(proto, "UploadFileRequest", "chunk_data").ClearField("oneof_index")


def _drop_a_method(proto: descriptors.FileDescriptorProto) -> None:
    del proto.service[0].method[0]


def _stop_streaming(proto: descriptors.FileDescriptorProto) -> None:
    for service in proto.service:
        for method in service.method:
            method.client_streaming = False


def _drop_a_message(proto: descriptors.FileDescriptorProto) -> None:
    del proto.message_type[0]


def _field(proto: descriptors.FileDescriptorProto, message: str, field: str) -> descriptors.FieldDescriptorProto:
    (found,) = (
        each for kind in proto.message_type if kind.name == message for each in kind.field if each.name == field
    )
    return found


@pytest.mark.parametrize(
    "change",
    [_renumber, _retype, _relabel, _rename, _leave_the_oneof, _drop_a_method, _stop_streaming, _drop_a_message],
)
def test_every_kind_of_break_is_seen(
    contract: descriptors.FileDescriptorProto,
    ours: descriptors.FileDescriptorProto,
    change: Callable[[descriptors.FileDescriptorProto], None],
) -> None:
    changed = descriptors.FileDescriptorProto()
    changed.CopyFrom(ours)
    change(changed)
    assert broken(contract, changed)


def test_a_field_below_the_free_numbers_is_seen(
    contract: descriptors.FileDescriptorProto, ours: descriptors.FileDescriptorProto
) -> None:
    changed = descriptors.FileDescriptorProto()
    changed.CopyFrom(ours)
    _field(changed, "FileMetadata", "request_id").number = 15
    assert squatters(contract, changed) == ["FileMetadata.request_id = 15"]
