// ipfs-cluster-service: one peer of a cluster, on this machine's sockets and disk.

import Configuration
import Foundation
import RealNet
import ServiceCommands

let world = ServiceWorld.real(version: "1.1.6", fetch: fetchConfiguration)
let service = Service(
    world: world,
    runDaemon: { options in try Daemon(try options.start(in: world), options: options, world: world).run() },
    runState: { try $0.run(in: world) })
exit(service.run(Array(CommandLine.arguments.dropFirst())))
