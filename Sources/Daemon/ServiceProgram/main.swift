// ipfs-cluster-service: one peer of a cluster, on this machine's sockets and disk.

import Configuration
import Foundation
import RealNet
import ServiceCommands

let world = ServiceWorld.real(version: "1.1.6", fetch: fetchConfiguration)
let service = Service(
    world: world,
    runDaemon: { options in try Daemon(try options.start(in: world), options: options, world: world).run() },
    runState: { _ in throw CommandFailure("running a state command", "not offered by this version") })
exit(service.run(Array(CommandLine.arguments.dropFirst())))
