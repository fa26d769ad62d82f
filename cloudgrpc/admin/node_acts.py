"""`admin node …`, `admin repair` and `admin scrub`: the care of storage nodes and of the copies on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.admin import acts, node_words
from cloudgrpc.admin.care_desk import CareDesk
from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import NodeNotEmpty
from cloudgrpc.shell.actions import Actions
from cloudgrpc.shell.parser import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

NODE, REPAIR, SCRUB = "node", "repair", "scrub"
NODES = "See the nodes with: cloudgrpc admin --nodes"


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Raises: UsageWrong; SystemExit for --help."""
    args: argparse.Namespace = parser_of(words[0]).parse_args(words[1:])
    return args


def parser_of(act: str) -> Parser:
    return {NODE: _node_parser, REPAIR: _repair_parser, SCRUB: _scrub_parser}[act]()


def run(desk: Desk, args: argparse.Namespace) -> int | None:
    code: int | None = args.act(CareDesk(desk), args)
    return code


def _node_parser() -> Parser:
    prog = f"cloudgrpc admin {NODE}"
    parser = Parser(
        prog,
        "Take a storage node out of the cluster: drain it, and once it is empty remove it.",
        f"""
        {prog} drain node3 --wait
        {prog} undrain node3
        {prog} remove node3
        {prog} remove node3 --lost
        """,
    )
    actions = Actions(parser, lambda _: parser.print_help())
    actions.added.required = True
    words = "Give a node no new chunks, and copy what it holds to others; it serves reads all the while."
    drain = _add(actions, "drain", words, f"{prog} drain node3 --wait")
    drain.set_defaults(act=_drain)
    drain.add_argument("--wait", action="store_true", help="until it is empty; Ctrl-C leaves, the drain goes on")
    undrain = _add(actions, "undrain", "Let a node that is drained take chunks again.", f"{prog} undrain node3")
    undrain.set_defaults(act=_undrain)
    words = "Forget a node that is empty; with --lost one that is offline for good, with all it holds."
    remove = _add(actions, "remove", words, f"{prog} remove node3\n{prog} remove node3 --lost")
    remove.set_defaults(act=_remove)
    remove.add_argument("--lost", action="store_true", help="it never comes back; shows first what is lost with it")
    return parser


def _add(actions: Actions, name: str, words: str, examples: str) -> Parser:
    parser = actions.add(name, lambda _: None, words, examples)
    parser.add_argument("node_id", metavar="ID", help="the node's name, such as node3")
    acts.add_yes(parser)
    return parser


def _repair_parser() -> Parser:
    prog = f"cloudgrpc admin {REPAIR}"
    words = (
        "Look now for chunks with fewer copies than wanted, and make them again; the cluster also does so by itself."
    )
    parser = Parser(prog, words, f"{prog}\n{prog} --now --yes")
    parser.set_defaults(act=_repair)
    parser.add_argument("--now", action="store_true", help="do not wait for nodes that went offline a moment ago")
    acts.add_yes(parser)
    return parser


def _scrub_parser() -> Parser:
    prog = f"cloudgrpc admin {SCRUB}"
    words = "Read every chunk of a node, or of all, and compare it with its checksum; bad copies are made again."
    parser = Parser(prog, words, f"{prog} node3 --wait\n{prog} --yes")
    parser.set_defaults(act=_scrub)
    parser.add_argument("node_id", metavar="NODE", nargs="?", default="", help="the node's name (default: all)")
    parser.add_argument("--wait", action="store_true", help="until all is read; Ctrl-C leaves, reading goes on")
    acts.add_yes(parser)
    return parser


def _drain(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    nodes = {node.node_id: node for node in desk.nodes()}
    node = nodes.get(args.node_id) or desk.node(args.node_id)
    others = [each for each in nodes.values() if each.node_id != node.node_id and not each.draining_since]
    taking = sum(1 for each in others if not each.reason and each.status != node_words.OFFLINE)
    lines = [_line(node), f"Its copies go to the others, {taking} of which take chunks now; files stay readable."]
    if not node.draining_since:
        if not acts.is_agreed(args, lines, "Drain it?"):
            return
        reply = desk.drain(node.node_id)
        acts.told(f"{node.node_id} gets no new chunks from now on; {node_words.drain(reply.node)}.")
        if reply.copies_wanted < reply.copies_before:
            copies = f"{reply.copies_wanted} instead of {reply.copies_before}"
            print(f"Too few nodes stay: each chunk will have {copies} copies.")
    else:
        acts.told(f"{node.node_id} is drained since {render.when(node.draining_since)}; {node_words.drain(node)}.")
    if args.wait:
        acts.watch(lambda: _drain_words(desk, node.node_id), f"the drain of {node.node_id}")
        _tell_drained(node.node_id, desk.nodes())
    else:
        acts.told(f"Watch it with: cloudgrpc admin node drain {node.node_id} --wait   or: cloudgrpc admin --nodes")


def _drain_words(desk: CareDesk, node_id: str) -> str:
    """ "" once the node can be removed, or is drained no more."""
    node = next((each for each in desk.nodes() if each.node_id == node_id), None)
    if node is None or not node.draining_since:
        return ""
    return f"{node_id}: {node_words.drain(node)}" if node.copies_left else ""


def _tell_drained(node_id: str, nodes: Sequence[pb.NodeInfo]) -> None:
    node = next((each for each in nodes if each.node_id == node_id), None)
    if node is None:
        acts.told(f"{node_id} was removed meanwhile.")
    elif not node.draining_since:
        acts.told(f"The drain of {node_id} was taken back meanwhile: it takes chunks again.")
    else:
        acts.told(f"{node_id} is empty.")
        acts.told(f"Remove it with: cloudgrpc admin node remove {node_id}")


def _undrain(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    node = desk.node(args.node_id)
    if not node.draining_since:
        acts.told(f"{node.node_id} is not drained.")
        return
    lines = [_line(node), f"It is drained since {render.when(node.draining_since)}; {node_words.drain(node)}."]
    if not acts.is_agreed(args, lines, "Let it take chunks again?"):
        return
    desk.drain(node.node_id, undrain=True)
    acts.told(f"{node.node_id} takes chunks again; what it lost is filled up in the background.")
    print(NODES)


def _remove(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    node = desk.node(args.node_id)
    would = desk.remove(node.node_id, lost=args.lost, dry_run=True)
    if would.copies and not args.lost:
        raise NodeNotEmpty(node_id=node.node_id, copies=f"{would.copies:,}")
    if not acts.is_agreed(args, [_line(node), *_loss(would)], "Remove it from the cluster, for good?"):
        return
    if would.chunks_lost and not acts.is_named(
        args, f"The files above are lost for good. Type {node.node_id} to do it all the same: ", node.node_id
    ):
        return
    done = desk.remove(node.node_id, lost=args.lost)
    acts.told(f"{node.node_id} is removed; its folder can never join again.")
    if not done.copies:
        print("Stop its process, and delete its folder when you like.")
        return
    for line in _loss(done):
        acts.told(line)
    print("What it held is made again on the others; see how far that is with: cloudgrpc admin --status")


def _loss(reply: pb.RemoveNodeResponse) -> list[str]:
    """What goes with the node."""
    if not reply.copies:
        return ["It holds no copies."]
    if not reply.chunks_lost:
        return [f"Of each of its {reply.copies:,} copies there is a good one elsewhere; no file is lost with it."]
    alone = f"{reply.chunks_lost:,} of its {reply.copies:,} copies are the last good ones"
    rest = reply.files_lost - len(reply.files)
    return [
        f"{alone}: {render.count(reply.files_lost, 'file')} can never be read again, whole:",
        *(f"  {file}" for file in reply.files),
        *([f"  ... and {rest:,} more"] if rest > 0 else []),
    ]


def _repair(desk: CareDesk, args: argparse.Namespace) -> None:
    hasty = " Nodes that are away for a moment are not waited for." if args.now else ""
    if not acts.is_agreed(args, [f"What has fewer copies than wanted is looked for now.{hasty}"], "Begin?"):
        return
    reply = desk.repair(args.now)
    missing = render.count(reply.chunks_missing, "chunk")
    print(f"Repair looks now: {missing} with fewer copies than wanted, {reply.chunks_lost:,} with none.")
    if reply.chunks_lost:
        print("See which files are lost with: cloudgrpc admin check")
    else:
        print("See how far it is with: cloudgrpc admin --status")


def _scrub(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    before = {node.node_id: node for node in ([desk.node(args.node_id)] if args.node_id else desk.nodes())}
    lines = [_line(node) for node in before.values()]
    if not acts.is_agreed(args, lines, "Read every chunk there, and compare it with its checksum?"):
        return
    begun = desk.scrub(args.node_id)
    if not begun:
        print("There is no node to read.")
        return
    acts.told(f"Every chunk of {', '.join(begun)} is read now; bad copies are made again by themselves.")
    if not args.wait:
        print(f"See how far it is, and what was found: {NODES.partition(': ')[2]}")
        return
    waited = [each for each in begun if each not in before or before[each].status != node_words.OFFLINE]
    for node_id in [each for each in begun if each not in waited]:
        acts.told(f"{node_id} is offline; it is read once it is back, and not waited for.")
    acts.watch(lambda: _scrub_words(desk, waited, before), "reading")
    found = {node.node_id: node.scrub_bad for node in desk.nodes() if node.node_id in waited}
    bad = ", ".join(f"{count:,} on {node_id}" for node_id, count in found.items() if count)
    acts.told(f"All is read; bad copies: {bad}." if bad else "All is read, and every copy is good.")
    print("See the bad ones with: cloudgrpc admin --events --type copy.bad" if bad else NODES)


def _scrub_words(desk: CareDesk, waited: Sequence[str], before: dict[str, pb.NodeInfo]) -> str:
    """ "" once each has come to the end of a pass."""
    going = [
        node
        for node in desk.nodes()
        if node.node_id in waited
        and node.scrubbed_at == (before[node.node_id].scrubbed_at if node.node_id in before else "")
    ]
    return ", ".join(f"{node.node_id} {node.scrub_progress:.0%}" for node in going)


def _line(node: pb.NodeInfo) -> str:
    used = f"{size_words(node.storage_used)} of {size_words(node.storage_capacity)}"
    state = node.reason or node_words.state(node)
    return f"{node.node_id} at {node.host}:{node.port}: {state}; {used}, {render.count(node.chunk_count, 'chunk')}"
