"""CloudGrpc: a cloud drive on its own self-healing storage nodes.

The house, from the roof down; imports point down only:

    cli                     argv -> role; prints a failure, picks the exit code
    admin                   what operators see and do: dashboard, views, acts
    shell                   the commands of the shell, its prompt, and what they print
    servers | clients       roles that listen | what calls a gateway, over the network only
    services                one module per gRPC service: message -> action -> message
    actions                 what the platform does: sign in, transfer, share, repair, collect
    meta | chunks           what we know about files (SQL) | where their bytes live
    outside | trust         other people's systems: mail, Campay and its sandbox | our secrets and certificates
    core                    decisions without I/O, clock or randomness
    links, handshakes       connections within the cluster | why one did not come about
    rpc, wire, meters       channels, TLS, deadlines, error <-> status | what a process counts about itself
    pb, config, setting_names, sales, errors   generated messages | settings | those of selling | every error a user
                            can meet
"""

__version__ = "0.1.0"
