// Waits until a pin is where it should be. CLI-102, CLI-130.

import Kernel
import Multiformats
import Pinset

struct PinWait {
    static let interval = Span.seconds(1)
    private static let errors: [TrackerStatus] = [.undefined, .clusterError, .pinError, .unpinError]
    let target: TrackerStatus
    /// So many peers are enough; 0 or less: all must be there.
    let limit: Int

    /// Whether that is reached. Throws where it cannot be any more.
    func isReached(_ info: GlobalPinInfo) throws(ControlFault) -> Bool {
        let statuses = info.peers.values.map(\.status)
        if statuses.contains(where: PinWait.errors.contains) {
            throw ControlFault("error has occurred while attempting to reach status: \(target.text)")
        }
        if limit > 0 { return statuses.count { $0 == target } >= min(limit, statuses.count) }
        return statuses.allSatisfy { $0 == target || ($0 == .remote && target == .pinned) }
    }

    /// The status that did it. `timeout` counts only above the interval. `status` may take so long, if a limit is given.
    func run(
        _ cid: CID, timeout: Span, world: any ControlWorld, status: (CID, Span?) throws(ControlFailure) -> GlobalPinInfo
    ) throws(ControlFailure) -> GlobalPinInfo {
        let deadline = timeout > PinWait.interval ? world.now + timeout : nil
        while true {
            world.sleep(min(deadline.map { max($0 - world.now, .zero) } ?? PinWait.interval, PinWait.interval))
            try check(deadline, world)
            let info: GlobalPinInfo
            do throws(ControlFailure) { info = try status(cid, deadline.map { $0 - world.now }) } catch {
                try check(deadline, world)
                throw .local(PinWait.doing, error.text)
            }
            do throws(ControlFault) { if try isReached(info) { return info } } catch { throw .local(PinWait.doing, error) }
        }
    }
    private static let doing = "waiting for pin status"

    private func check(_ deadline: WallTime?, _ world: any ControlWorld) throws(ControlFailure) {
        guard let deadline, world.now >= deadline else { return }
        throw .local(doing: PinWait.doing, reason: "context deadline exceeded", exit: 62)
    }
}
