// ipfs-cluster-ctl: from the words of the command line to an exit code. CLI-084..181.

import CommandLine
import Encoding
import Foundation
import Kernel
import Multiformats
import Pinset

package struct ControlProgram {
    package static let name = "ipfs-cluster-ctl"
    package static let version = "1.1.6"
    private let world: any ControlWorld

    package init(world: any ControlWorld) { self.world = world }

    /// The words after the program's own name; the exit code.
    package func run(_ words: [String]) -> Int32 {
        var settings: Result<ControlSettings, ControlFailure>?
        // CLI-096: hosts are looked at before any command, and before the help that an empty call prints.
        let outcome = Self.program.interpret(words, environment: world.environment) { stage in
            guard stage.path.isEmpty else { return nil }
            do throws(ControlFailure) { settings = .success(try ControlSettings(stage.flags, world: world)) } catch {
                settings = .failure(error)
                return ControlSession.ending(of: error, isJSON: false)
            }
            return nil
        }
        switch (outcome, settings) {
        case (.end(let ending), _): return finish(ending)
        case (.run(let invocation), .success(let settings)?):
            let session = ControlSession(world: world, settings: settings)
            do throws(ControlFailure) {
                return try session.carryOut(try ControlCommand.plan(PlanInput(invocation: invocation, now: world.now)))
            } catch { return finish(ControlSession.ending(of: error, isJSON: settings.isJSON)) }
        case (.run, _): unreachable("a command without settings")
        }
    }

    private func finish(_ ending: Ending) -> Int32 {
        if !ending.stdout.isEmpty { world.print(ending.stdout) }
        if !ending.stderr.isEmpty { world.printError(ending.stderr) }
        return ending.exit
    }
}

/// One command with the hosts it may ask.
struct ControlSession {
    let world: any ControlWorld
    let settings: ControlSettings

    private var client: APIClient {
        APIClient(hosts: settings.hosts, connect: world.transport, log: log)
    }

    /// The exit code, where nothing failed.
    func carryOut(_ plan: ControlPlan) throws(ControlFailure) -> Int32 {
        switch plan {
        case .compare(let request): return try compare(request)
        case .show(let request):
            do throws(ControlFailure) { try client.run(request, each: show) } catch {
                if request.showsFailureAsEmpty { show(.noStatus) }
                throw error
            }
        case .pin(let request, let followUp): try pin(request, followUp)
        case .graph(let request, let file, let showsAll):
            guard case .graph(let graph) = try client.one(request) else { break }
            try write(GraphFormat.dot(graph, showsAllIPFSPeers: showsAll), to: file)
        case .add(let request, let plan): try add(request, plan)
        case .listCommands: world.print(ControlCommand.fullNames.map { $0 + "\n" }.joined())
        }
        return 0
    }

    private func write(_ dot: String, to file: String) throws(ControlFailure) {
        if file.isEmpty { return world.print(dot) }
        do { try Files.write(dot, to: file) } catch { throw .local("creating output file", "\(error)") }
    }

    private func compare(_ request: ControlRequest) throws(ControlFailure) -> Int32 {
        var peers: [PeerInfo] = []
        try client.run(request) { item in
            guard case .peer(let peer) = item else { return }
            peers.append(peer)
            if settings.isJSON { show(item) }
        }
        let comparison = PinsetComparison(peers)
        if !settings.isJSON { world.print(comparison.text) }
        return comparison.agree ? 0 : 1
    }

    private func show(_ item: Shown) { world.print(item.printed(asJSON: settings.isJSON, now: world.now)) }

    /// CLI-012.
    private func log(_ level: APIClient.LogLevel, _ text: String) {
        guard level == .error || settings.isDebugging else { return }
        let place = "Control/APIClient.swift"
        world.printError("\(ControlSession.stamp(world.now))\t\(level.rawValue)\tapiclient\t\(place)\t\(text)\n")
    }

    /// To the millisecond, in UTC.
    private static func stamp(_ time: WallTime) -> String {
        let milliseconds = String(time.nanoseconds / 1_000_000 + 1000).dropFirst()
        return WallTime(seconds: time.seconds).rfc3339.dropLast() + ".\(milliseconds)Z"
    }

    /// CLI-098..103.
    static func ending(of failure: ControlFailure, isJSON: Bool) -> Ending {
        switch failure {
        case .api(let error):
            let text = Shown.failure(error).printed(asJSON: isJSON, now: .unset)
            return Ending(stdout: text, exit: error.code == 0 ? 1 : 2)
        case .local(let doing, let reason, let exit): return Ending(stderr: "error \(doing): \(reason)\n", exit: exit)
        }
    }

    // MARK: Pins

    /// CLI-112..114: the pin with --no-status, else its status once it has settled or a second has passed.
    private func pin(_ request: ControlRequest, _ followUp: PinFollowUp) throws(ControlFailure) {
        guard case .pin(let pin) = try client.one(request) else { return }
        var info: GlobalPinInfo?
        if followUp.waits {
            let needed = followUp.target == .pinned ? pin.options.replicationFactorMin : 0
            let wait = PinWait(target: followUp.target, limit: followUp.limit > 0 ? followUp.limit : needed)
            info = try wait.run(pin.cid, timeout: followUp.timeout, world: world, status: status)
        }
        guard followUp.showsStatus else { return show(.pin(pin)) }
        if let info { return show(.status(info)) }
        world.sleep(.seconds(1))
        show(.status(try status(pin.cid, within: nil)))
    }

    private func status(_ cid: CID, within span: Span?) throws(ControlFailure) -> GlobalPinInfo {
        var client = client
        if let span { client = try client.limited(to: span) }
        let shown = try client.one(ControlRequest("GET", "/pins/\(cid)?local=false", .one(.status)))
        guard case .status(let info) = shown else { unreachable("a status is read as one") }
        return info
    }

    // MARK: Adding

    private func add(_ request: ControlRequest, _ plan: AddPlan) throws(ControlFailure) {
        var last: AddedOutput?
        var all: [Shown] = []
        var failure: ControlFailure?
        let form = { () throws(ControlFailure) -> Upload in try upload(plan) }
        let onAdded = { (item: Shown) in
            guard case .added(let output, _) = item else { return }
            last = output
            let shown = Shown.added(output, isQuiet: plan.isQuiet)
            if plan.isBuffered { all.append(shown) } else if !plan.showsOnlyLast { show(shown) }
        }
        do throws(ControlFailure) {
            try client.run(request, upload: form, each: onAdded)
        } catch { failure = error }
        // What was added before a failure is printed all the same.
        if let last, last.cid != nil {
            let shown = Shown.added(last, isQuiet: plan.isQuiet)
            if plan.isBuffered { show(.list(plan.showsOnlyLast ? [shown] : all)) } else if plan.showsOnlyLast { show(shown) }
        }
        if let failure { throw failure }
        if plan.waits, let cid = last?.cid { try wait(for: cid, plan) }
    }

    private func upload(_ plan: AddPlan) throws(ControlFailure) -> Upload {
        try Upload(
            paths: plan.paths, isRecursive: plan.isRecursive, includesHidden: plan.includesHidden, isNoCopy: plan.isNoCopy,
            boundary: hex(world.entropy(30)), fetch: { url in try WebPage(url, world: world) })
    }

    /// As many peers as the stored pin needs, or else as was asked for.
    private func wait(for cid: CID, _ plan: AddPlan) throws(ControlFailure) {
        var limit = plan.replicationMin
        do {
            if case .pin(let pin) = try client.one(ControlRequest("GET", "/allocations/\(cid)", .one(.pin))) {
                limit = pin.options.replicationFactorMin
            }
        } catch .api {
            // Not stored (any more): what was asked for stands.
        }
        _ = try PinWait(target: .pinned, limit: limit).run(cid, timeout: plan.timeout, world: world, status: status)
    }
}
